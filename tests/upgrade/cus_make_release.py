"""Keeps what a release left behind, for the releases after it to come up with.

    python -m aos_project.cus_embedded exec -- .venv/bin/python -m tests.upgrade.cus_make_release NAME

runs on the release's own code, and writes `tests/upgrade/releases/NAME/`: a dump of a database with
rows, replays, overrides, decisions, live holds and a month that retention dropped; a spool of
records that were never sent; and what was true of them. The release's decisions go beside those of
the others, into `tests/enforcement/golden/NAME/`.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")

import django

django.setup()

import psycopg  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from tests.cus_postgres_programs import binaries, reached_by  # noqa: E402
from tests.enforcement.cus_make_golden import GOLDEN  # noqa: E402
from tests.enforcement.cus_make_golden import write as write_golden  # noqa: E402

RELEASES = Path(__file__).parent / "releases"
# What was stored in these cents and microcents must stay so.
_TOTALS = (
    "SELECT integration_id::text, to_char(period, 'YYYY-MM'), sum(calls)::bigint,"
    " sum(tokens_in)::bigint, sum(tokens_out)::bigint, sum(cost_cents)::bigint,"
    " sum(cost_microcents)::bigint, sum(correction_microcents)::bigint"
    " FROM cus_period_totals GROUP BY 1, 2 ORDER BY 1, 2"
)
_COUNTS = {
    "rows": "SELECT count(*) FROM cus_llm_usage",
    "ledger": "SELECT count(*) FROM cus_call_ledger",
    "holds": "SELECT count(*) FROM cus_enforcement_holds",
    "decisions": "SELECT count(*) FROM cus_enforcement_decisions",
    "overrides": "SELECT count(*) FROM cus_price_overrides",
    "keys": "SELECT count(*) FROM cus_sdk_keys",
}


def superuser() -> "psycopg.Connection[Any]":
    """Past all guards: for what only time or an owner could have done."""
    name = str(settings.DATABASES["default"]["NAME"])
    connection = psycopg.connect(os.environ["CUS_SUPERUSER_URL"], dbname=name, autocommit=True)
    connection.execute("SET session_replication_role = replica")
    return connection


def make(folder: Path) -> None:
    """Write a release's folder."""
    call_command("migrate", verbosity=0, interactive=False)
    setup_test_environment()
    facts = _live(folder)
    with superuser() as connection:
        facts["totals"] = connection.execute(_TOTALS).fetchall()
        facts["counts"] = {
            name: _first(connection, statement) for name, statement in _COUNTS.items()
        }
    facts["secrets"] = {
        name: str(getattr(settings, name))
        for name in ("CUS_KEY_HASH_SECRET", "CUS_CREDENTIAL_KEYS")
    }
    folder.joinpath("facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    _dump(folder)


def _first(connection: "psycopg.Connection[Any]", statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row
    return row[0]


def _live(folder: Path) -> dict[str, Any]:
    """The life of two integrations of one tenant, and what is known of it."""
    from integrations.cus_keys.verifier import issue_sdk_key
    from integrations.cus_lifecycle.models import CusIntegration
    from integrations.cus_prices.models import CusPriceOverride
    from tests.cus_factories import SdkClient, make_integration, make_tenant, make_user, record

    tenant = make_tenant("Upgraded")
    operator = make_user("operator")
    first, second = (make_integration(tenant, name=name) for name in ("First", "Second"))
    CusIntegration.objects.filter(tenant=tenant).update(
        budget_limit_cents=1_000, token_limit_month=10**9, rate_limit_rpm=1_000
    )
    keys = {str(one.id): issue_sdk_key(one)[1] for one in (first, second)}
    programs = {name: SdkClient(key) for name, key in keys.items()}
    CusPriceOverride.objects.create(
        tenant=tenant, model="house-model", valid_from=datetime.now(UTC) - timedelta(days=2),
        prices={"input": "1", "output": "4"}, created_by=operator,
    )  # fmt: skip
    old = [
        _sent(programs, str(first.id), record(call_id=f"old-{n}", cost_cents=2)) for n in range(6)
    ]
    _move_months_back(4)
    reports = [
        *(_sent(programs, str(first.id), record(call_id=f"first-{n}", cost_cents=1)) for n in range(20)),
        *(_sent(programs, str(second.id), record(call_id=f"second-{n}", tokens_cached=n)) for n in range(10)),
        # Understated, unpriced, at the tenant's own price, blocked, and from a clock that is off.
        _sent(programs, str(first.id), record(call_id="cheap", tokens_in=200_000, cost_cents=0)),
        _sent(programs, str(first.id), record(call_id="unknown", model="nobody-knows", cost_cents=3)),
        _sent(programs, str(second.id), record(call_id="house", model="house-model", cost_cents=None)),
        _sent(programs, str(second.id), record(call_id="stopped", policy_result="blocked",
              error_code="cus_throttled", tokens_in=0, tokens_out=0, cost_cents=0)),
        _sent(programs, str(second.id), record(call_id="skewed", timestamp="2020-01-01T00:00:00Z")),
    ]  # fmt: skip
    for call_id, cents in (("held-1", 7), ("held-2", 11)):
        assert (
            programs[str(first.id)].check(call_id, estimated_cost_cents=cents).json()["result"]
            == "allowed"
        )
    assert (
        programs[str(second.id)].check("held-3", estimated_cost_cents=5).json()["result"]
        == "allowed"
    )
    assert (
        programs[str(first.id)].check("refused", estimated_cost_cents=5_000).json()["result"]
        == "blocked"
    )
    return {
        "tenant": str(tenant.id),
        "first": str(first.id),
        "second": str(second.id),
        "keys": keys,
        "reports": reports,
        # Their month was dropped: nothing but the ledger knows them.
        "dropped": old,
        "held": {"held-1": [str(first.id), 7], "held-2": [str(first.id), 11], "held-3": [str(second.id), 5]},
        "spooled": _leave_spool(folder, keys[str(first.id)]),
    }  # fmt: skip


def _sent(programs: Any, integration: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = programs[integration].report(body)
    assert answer.status_code == 201, answer.content
    return {"integration": integration, "record": body}


def _move_months_back(months: int) -> None:
    """All that was stored so far was stored months ago, and retention dropped that month."""
    from telemetry.cus_evidence.partitions import Month

    past = Month.of(datetime.now(UTC)).shifted(-months)
    with superuser() as connection:
        for statement in (
            f"CREATE TABLE {past.partition} PARTITION OF cus_llm_usage"
            f" FOR VALUES FROM ('{past.start.isoformat()}') TO ('{past.shifted(1).start.isoformat()}')",
            f"UPDATE cus_llm_usage SET created_at = created_at - interval '{months} months'",
            f"UPDATE cus_call_ledger SET usage_created_at = usage_created_at - interval '{months} months'",
            f"UPDATE cus_period_totals SET period = period - interval '{months} months'",
            f"ALTER TABLE cus_llm_usage DETACH PARTITION {past.partition}",
            f"DROP TABLE {past.partition}",
        ):
            connection.execute(statement.encode())


# A program that is killed before it could send: what it leaves is its ring.
_PROGRAM = """
import os, sys, time
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter(sys.argv[1], "http://127.0.0.1:9", batch_interval=60.0)
for number in range(5):
    reporter.report(CusUsageRecord(f"spooled-{number}", "gpt-4o", tokens_in=1_000, tokens_out=500))
os._exit(0)
"""


def _leave_spool(folder: Path, key: str) -> dict[str, Any]:
    spool = folder / "spool"
    environment = os.environ | {"CUS_SPOOL_DIR": str(spool)}
    subprocess.run([sys.executable, "-c", _PROGRAM, key], env=environment, check=True, timeout=60)
    (inner,) = spool.iterdir()
    rings = [path.name for path in inner.iterdir()]
    with tarfile.open(folder / "spool.tar.gz", "w:gz") as archive:
        for name in rings:
            archive.add(inner / name, arcname=name)
    shutil.rmtree(spool)
    return {"call_ids": [f"spooled-{number}" for number in range(5)], "key": key}


def _dump(folder: Path) -> None:
    connections.close_all()
    name = str(settings.DATABASES["default"]["NAME"])
    url = os.environ["CUS_SUPERUSER_URL"]
    with psycopg.connect(url, dbname=name) as connection:
        where, environment = reached_by(connection)
    command = [str(binaries() / "pg_dump"), *where, name]
    dumped = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    folder.joinpath("database.sql.gz").write_bytes(gzip.compress(dumped, mtime=0))


def main() -> None:
    """Make the folder that the first argument names, anew."""
    folder = RELEASES / sys.argv[1]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    write_golden(GOLDEN / folder.name)
    sys.stdout.write(f"{folder}: {sorted(path.name for path in folder.iterdir())}\n")


if __name__ == "__main__":
    main()
