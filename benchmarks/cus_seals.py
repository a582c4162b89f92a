"""`python -m benchmarks.cus_seals [--rows N …]`: sealing and verifying a day, on servers of its own."""

import argparse
import os
import resource
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from aos_project.cus_embedded import ServiceError, throw_away_services

T = TypeVar("T")
_ROWS = (10_000, 100_000, 1_000_000)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.cus_seals", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=_ROWS, help="rows of each day")
    options = parser.parse_args(arguments)
    try:
        with throw_away_services(durable=True) as environment:
            os.environ.update(environment)
            return _run(options.rows)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(sizes: Sequence[int]) -> int:
    # The settings are read from the environment, so nothing of Django's may come before it.
    os.environ["DJANGO_SETTINGS_MODULE"] = "aos_project.settings"
    import django

    django.setup()
    from benchmarks.cus_conditions import machine
    from benchmarks.cus_databases import prepare
    from benchmarks.cus_report import Section, new_console

    prepare()
    console = new_console()
    machine(("django", "psycopg")).show(console)
    section = Section(
        "Sealing and verifying a day of one tenant",
        ("rows", "seal s", "rows/s", "verify s", "rows/s", "greatest memory MiB"),
    )
    section.rows = [_measured(rows) for rows in sizes]
    section.show(console)
    return 0


def _measured(rows: int) -> Sequence[str]:
    """One line: a new tenant's yesterday with so many rows, sealed and verified."""
    from telemetry.cus_seals.service import CusSealService
    from telemetry.cus_seals.verification import CusSealVerifier

    tenant_id = uuid.uuid4()
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    _fill(tenant_id, noon - timedelta(hours=36), rows)
    sealing, (seal,) = _timed(lambda: list(CusSealService(tenant_id).seal_due(noon)))
    verifying, (day,) = _timed(lambda: list(CusSealVerifier(tenant_id, noon).days()))
    if seal.rows != rows or day.faults:
        raise SystemExit(f"{seal.rows:,} of {rows:,} rows sealed; faults: {day.faults}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    speeds = [f"{rows / seconds:,.0f}" for seconds in (sealing, verifying)]
    return (
        f"{rows:,}", f"{sealing:.1f}", speeds[0], f"{verifying:.1f}", speeds[1], f"{memory:.0f}",
    )  # fmt: skip


def _timed(work: Callable[[], list[T]]) -> tuple[float, list[T]]:
    start = time.monotonic()
    result = work()
    return time.monotonic() - start, result


def _fill(tenant_id: uuid.UUID, midnight: datetime, rows: int) -> None:
    from django.conf import settings

    from benchmarks.cus_databases import superuser
    from benchmarks.cus_fill import FILL

    values = {
        "tenant": tenant_id,
        "integrations": [uuid.uuid4() for _ in range(12)],
        "start": midnight,
        "step": timedelta(days=1) / rows,
        "low": 0,
        "high": rows - 1,
    }
    with superuser(str(settings.DATABASES["default"]["NAME"])) as database:
        database.execute(FILL, values)
        database.execute("VACUUM (ANALYZE) cus_llm_usage")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
