"""`manage.py cus_demo`: replay a production trace, compare the stored rows with the trace, and run
out of a budget.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from rich.table import Table

from aos_project.cus_demo.cus_limited_run import CALLS, LimitedRun
from aos_project.cus_demo.cus_local_provider import serving
from aos_project.cus_demo.cus_replay import MODEL, Delivery, Replay
from aos_project.cus_demo.cus_trace import Trace, TraceUnreadable, read_trace, synthetic_trace
from aos_project.cus_first_start import TENANT, demo_integration
from aos_sdk.cus_cost import calculate_cost, calculate_cost_microcents
from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.service import CusSdkKeyService, TooManySdkKeys
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_tenancy.tenant_service import CusTenantService
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.lookup import UsageSums, sums_of_calls
from telemetry.cus_holds.limits import limits_of

_OWN_TRACE = settings.BASE_DIR.parent / "shared/data/azure-llm-inference-2023-code.csv"
_MICROCENTS_PER_DOLLAR = Decimal(100_000_000)
# The demo's integrations, whose names nobody takes for a customer's.
_REPLAYED, _LIMITED = "Demo: replayed trace", "Demo: small budget"
_ROOM_CENTS = 10


class Command(BaseCommand):
    """Replays a trace, and compares the stored rows with the trace, to the microcent. Then makes
    calls against a budget that runs out in the middle.

    Writes to integrations of its own alone.
    """

    help = "Replay a production trace through SDK and server, and run out of a budget."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--trace", help="CSV with TIMESTAMP, ContextTokens, GeneratedTokens")
        parser.add_argument(
            "--speed", type=float, default=0, help="times real time; 0: as fast as it goes"
        )
        parser.add_argument(
            "--base-url", help="the product's; without it, of the product on this machine's data"
        )
        parser.add_argument("--port", type=int, help="of the product that is started if none runs")

    def handle(self, *_args: Any, **options: Any) -> None:
        console = Console()
        trace = _trace(options["trace"])
        # Made before the first call: then Prometheus sees their counters begin at 0.
        for name in (_REPLAYED, _LIMITED):
            _integration(name)
        console.print(f"Replaying {trace.name}: {len(trace.calls):,} calls with {MODEL}")
        if not self._replay(console, trace, options["base_url"], options["speed"]):
            raise CommandError("The stored rows do not agree with the trace; see the table.")
        if not self._run_out(console, trace, options["base_url"]):
            raise CommandError("The budget did not hold; see the table.")

    def _replay(self, console: Console, trace: Trace, base_url: str, speed: float) -> bool:
        integration = _integration(_REPLAYED)
        before = sums_of_calls(integration.tenant_id, integration.id, trace.call_ids)
        with _temporary_key(integration) as key, serving(trace) as provider_url:
            replay = Replay(
                trace, key=key, base_url=base_url, provider_url=provider_url, speed=speed
            )
            made = _run(console, replay)
            delivery = replay.finish()
        stored = sums_of_calls(integration.tenant_id, integration.id, trace.call_ids)
        console.print(_table(trace, made, stored))
        console.print(_story(stored.rows - before.rows, delivery))
        return made == len(trace.calls) and stored == _expected(trace)

    def _run_out(self, console: Console, trace: Trace, base_url: str) -> bool:
        """Make calls until the budget is used up, and beyond; return whether it held."""
        integration = _with_room(_integration(_LIMITED))
        limit = integration.budget_limit_cents
        console.print(f"\nCalls against a budget that has ${_ROOM_CENTS / 100:.2f} left")
        run = LimitedRun()
        with _temporary_key(integration) as key, serving(trace) as provider_url:
            calls = run.run(trace, key=key, base_url=base_url, provider_url=provider_url)
            total = min(CALLS, len(trace.calls))
            for _ in track(calls, "calls", total=total, console=console):
                pass
        used = _used_cents(integration)
        console.print(_table_of_limit(run, limit, used))
        # Soft, because a link that is broken into lines leads nowhere.
        console.print(run.last_refusal, highlight=False, soft_wrap=True)
        return run.ran > 0 and run.refused > 0 and not run.undelivered and used <= limit


def _trace(path: str | None) -> Trace:
    if path is None and not _OWN_TRACE.exists():
        return synthetic_trace()
    try:
        return read_trace(Path(path) if path else _OWN_TRACE)
    except TraceUnreadable as error:
        raise CommandError(str(error)) from None


def _integration(name: str) -> CusIntegration:
    """An integration of the demo's own; made again if it was deleted."""
    tenant = CusTenant.objects.filter(name=TENANT).first() or CusTenantService().create(TENANT)
    own = CusIntegration.objects.filter(tenant=tenant, deleted_at__isnull=True, name=name)
    return own.first() or demo_integration(tenant, name=name)


def _with_room(integration: CusIntegration) -> CusIntegration:
    """The integration at level block, with a budget that has a few cents left this month."""
    return CusIntegrationService(integration.tenant).change(
        integration.id,
        budget_limit_cents=_used_cents(integration) + _ROOM_CENTS,
        enforcement_level="block",
    )


def _used_cents(integration: CusIntegration) -> int:
    return int(limits_of(integration, now=database_now())["counted_cents"])


@contextmanager
def _temporary_key(integration: CusIntegration) -> Iterator[str]:
    keys = CusSdkKeyService(integration)
    try:
        key, text = keys.issue(label="Demo")
    except TooManySdkKeys as error:
        raise CommandError(f"The demo needs an SDK key of {integration.name}. {error}") from None
    try:
        yield text
    finally:
        keys.revoke(key.id)


def _run(console: Console, replay: Replay) -> int:
    """Make the calls under a progress bar; return their number."""
    calls = replay.trace.calls
    cost, made = Decimal(0), 0
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("calls · ${task.fields[cost]:.6f} · {task.fields[rate]:.0f}/s ·"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=5) as progress:
        task = progress.add_task("calls", total=len(calls), cost=cost, rate=0)
        for number in replay.run():
            made += 1
            cost += _microcents(calls[number]) / _MICROCENTS_PER_DOLLAR
            rate = progress.tasks[task].finished_speed or progress.tasks[task].speed or 0
            progress.update(task, advance=1, cost=cost, rate=rate)
    return made


def _microcents(call: Any) -> int:
    return calculate_cost_microcents(MODEL, call.tokens_in, call.tokens_out)


def _expected(trace: Trace) -> UsageSums:
    return UsageSums(
        rows=len(trace.calls),
        tokens_in=trace.tokens_in,
        tokens_out=trace.tokens_out,
        cost_cents=sum(calculate_cost(MODEL, c.tokens_in, c.tokens_out) for c in trace.calls),
        cost_microcents=sum(map(_microcents, trace.calls)),
    )


def _table(trace: Trace, made: int, stored: UsageSums) -> Table:
    expected = _expected(trace)
    table = Table("", "trace", "stored", "")
    for name, expected_sum, stored_sum in (
        ("calls made", expected.rows, made),
        ("rows stored", expected.rows, stored.rows),
        ("tokens in", expected.tokens_in, stored.tokens_in),
        ("tokens out", expected.tokens_out, stored.tokens_out),
        ("cost in cents, each call rounded up", expected.cost_cents, stored.cost_cents),
        ("cost in microcents, exact", expected.cost_microcents, stored.cost_microcents),
    ):
        verdict = "[green]agrees[/]" if expected_sum == stored_sum else "[red]differs[/]"
        table.add_row(name, f"{expected_sum:,}", f"{stored_sum:,}", verdict)
    table.add_row("exact cost", _dollars(expected), _dollars(stored), "")
    return table


def _table_of_limit(run: LimitedRun, limit: int, used: int) -> Table:
    table = Table("", "")
    verdict = "[green]not a cent[/]" if used <= limit else f"[red]{used - limit} cents[/]"
    for name, value in (
        ("calls that ran", f"{run.ran:,}"),
        ("calls that were refused before they reached the provider", f"{run.refused:,}"),
        ("budget of the month", f"${limit / 100:.2f}"),
        ("used of it", f"${used / 100:.2f}"),
        ("beyond the budget", verdict),
    ):
        table.add_row(name, value)
    return table


def _dollars(sums: UsageSums) -> str:
    return f"${sums.cost_microcents / _MICROCENTS_PER_DOLLAR:.8f}"


def _story(new: int, delivery: Delivery) -> str:
    if not new:
        known = delivery.duplicates + delivery.conflicts
        return (
            f"Nothing new was stored: all {known:,} call ids were known. A replay of a call id "
            "counts once; the first report is kept."
        )
    known = delivery.duplicates + delivery.conflicts
    summary = f"{new:,} rows are new; {known:,} were known already."
    lost = delivery.rejected + delivery.dropped + delivery.undelivered
    return summary if not lost else f"{summary} {lost:,} records were not delivered."
