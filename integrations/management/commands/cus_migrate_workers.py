"""`manage.py cus_migrate_workers FILE`: legacy worker configurations become integrations (§8)."""

from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from integrations.cus_integrations.worker_import import ImportLine, import_workers
from integrations.cus_web.redaction import redact


class Command(BaseCommand):
    """Shows the integration of each worker; with --apply imports all of the file, or nothing.

    Exit codes: 0 success, 1 a line can't be imported (then none is), 2 the file can't be read.
    """

    help = "Import integrations from an export of legacy worker configurations (dry run)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="JSON lines, or one JSON array")
        parser.add_argument("--apply", action="store_true", help="import; without this, only show")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            text = options["file"].read_text()
        except (OSError, UnicodeDecodeError):
            msg = f"{options['file']} can't be read as text."
            raise CommandError(msg, returncode=2) from None
        lines = import_workers(text, apply=options["apply"])
        Console(file=cast("IO[str]", self.stdout)).print(_table(lines))
        refused = [line for line in lines if line.problem]
        for line in refused:
            self.stderr.write(f"Line {line.number}: {redact(line.problem)}")
        if refused:
            raise CommandError(
                f"{len(refused):,} of {len(lines):,} lines can't be imported. Nothing is imported."
            )
        self.stdout.write(_summary(lines, applied=options["apply"]))


def _summary(lines: list[ImportLine], *, applied: bool) -> str:
    known = sum(line.known for line in lines)
    new = len(lines) - known
    if applied:
        return f"{new:,} imported, {known:,} had been before."
    hint = " Nothing is changed yet: --apply does it." if new else ""
    return f"{new:,} would be imported, {known:,} have been already.{hint}"


def _table(lines: list[ImportLine]) -> Table:
    heads = ("line", "tenant", "worker", "becomes", "model", "base URL", "tokens a month", "notes")
    table = Table(*heads)
    for line in lines:
        table.add_row(str(line.number), *(escape(redact(cell)) for cell in _cells(line)))
    return table


def _cells(line: ImportLine) -> list[str]:
    worker = line.worker
    if worker is None:
        return ["", "", "refused"]
    if line.problem:
        return [worker.tenant, worker.worker_id, "refused"]
    if line.known:
        return [worker.tenant, worker.worker_id, f"is {line.integration_name} already"]
    return [
        worker.tenant,
        worker.worker_id,
        f"{worker.provider_type}, {'enabled' if worker.enabled else 'not enabled'}",
        worker.default_model or "",
        worker.config.get("base_url", ""),
        f"{worker.token_limit_month:,}" if worker.token_limit_month else "no limit",
        "; ".join(worker.notes),
    ]
