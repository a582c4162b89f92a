"""Retention drops a month of usage rows when nothing more can come of it, and no figure changes."""

import io
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, connections, transaction
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.days import TenantDay
from telemetry.cus_analytics.models import CusUsageDaily, CusUsageHourly
from telemetry.cus_analytics.reconcile import reconcile
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now
from telemetry.cus_evidence import partitions
from telemetry.cus_evidence.models import CusDroppedMonth, CusLLMUsage
from telemetry.cus_evidence.partitions import Month, existing_months, make_partitions
from telemetry.cus_retention import service
from telemetry.cus_retention.checks import check_retention
from telemetry.cus_retention.service import OldMonth, drop_old_months
from telemetry.cus_seals.service import seal_all
from telemetry.cus_statements.closing import close_months
from telemetry.cus_statements.models import CusMonthStatement
from telemetry.tasks import cus_drop_old_months
from tests.conftest import _superuser, as_if
from tests.cus_factories import (
    SdkClient,
    correct,
    make_integration,
    record,
    settling,
    unmeasured,
)
from tests.services.cus_analytics_audit import analytics_findings, totals_findings
from tests.services.cus_broken_tenant import broken

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

_TENTH_DAY, _LAST_DAY = 9, -1


@pytest.fixture(autouse=True)
def old_month(settings: Settings) -> Iterator[Month]:
    """A month five months ago, the last that retention drops, and the months around it."""
    settings.CUS_RETENTION_MONTHS = 4
    month = Month.of(timezone.now()).shifted(-5)
    made = make_partitions(month.start + timedelta(days=1))
    yield month
    with connections["owner"].cursor() as cursor:
        for one in made:
            cursor.execute(f"DROP TABLE IF EXISTS {one.partition}")


def _as_of(received: datetime, occurred: datetime | None = None) -> None:
    """All calls that came since the day before now came, and occurred, at these times."""
    now = timezone.now() - timedelta(days=1)
    recent = f"created_at > '{now.isoformat()}'"
    at = f"'{received.isoformat()}'::timestamptz"
    occurred_at = f"'{(occurred or received).isoformat()}'::timestamptz"
    this_month = timezone.now().strftime("%Y-%m-01")
    as_if(
        f"UPDATE cus_call_ledger SET usage_created_at = {at} WHERE usage_created_at > '{now}'",
        f"UPDATE cus_llm_usage SET created_at = {at}, occurred_at = {occurred_at} WHERE {recent}",
        f"UPDATE cus_period_totals SET period = '{received:%Y-%m-01}' WHERE period = '{this_month}'",
    )


def _day(month: Month, number: int) -> datetime:
    """Three o'clock on a day of a month, counted from 0, or back from its end."""
    start = month.start if number >= 0 else month.shifted(1).start
    return start + timedelta(days=number, hours=3)


def _calls() -> list[dict[str, Any]]:
    return [
        record(agent_id="a", latency_ms=9),
        record(agent_id="b", error_code="timeout", policy_result="warned"),
        record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0),
        record(model="nobody-knows", provider="custom"),
    ]


def _roll_up() -> None:
    assert rollup_usage(timezone.now() + timedelta(seconds=1)).failed == []


def _all_done() -> None:
    """What beat has done long before a month is old."""
    _roll_up()
    assert [one.error for one in seal_all(database_now()) if one.error] == []
    assert [one.error for one in close_months(database_now()) if one.error] == []


def _dropped() -> list[OldMonth]:
    return list(drop_old_months(database_now()))


def _figures() -> dict[str, list[Any]]:
    """Hours and days without when they were computed."""
    kept = {"computed_at", "kept"}
    return {
        model.__name__: sorted(
            str([getattr(row, f.attname) for f in model._meta.concrete_fields
                 if f.attname not in kept])
            for row in model.objects.all()
        )
        for model in (CusUsageHourly, CusUsageDaily)
    }  # fmt: skip


@pytest.fixture
def replayable(sdk: SdkClient, old_month: Month) -> list[dict[str, Any]]:
    """Records of an old month, with which all is done, and two calls of today."""
    calls = _calls()
    assert sdk.report_batch(*calls).json()["accepted"] == len(calls)
    sdk.report(unmeasured(response_id="r"))
    sdk.report(settling("r"))
    correct(CusLLMUsage.objects.filter(agent_id="a").get(), by_microcents=-5)
    at = _day(old_month, _TENTH_DAY)
    as_if(
        *(
            f"UPDATE {table} SET created_at = '{at}', usage_created_at = '{at}', occurred_at = '{at}'"
            for table in ("cus_usage_settlements", "cus_cost_adjustments")
        )
    )
    _as_of(at)
    sdk.report_calls(2)
    _all_done()
    assert analytics_findings() == []
    return calls


def test_a_dropped_month_leaves_totals_hours_days_statements_and_seals_as_they_were(
    sdk: SdkClient, replayable: list[dict[str, Any]], old_month: Month
) -> None:
    before, statement = _figures(), CusMonthStatement.objects.get(month=old_month.start)

    assert _dropped() == [OldMonth(old_month.shifted(-1), 0), OldMonth(old_month, 5)]

    assert old_month not in existing_months()
    assert CusLLMUsage.objects.count() == 2
    assert _figures() == before
    assert totals_findings() == []
    sdk.report_calls(1)
    _roll_up()
    assert totals_findings() == []
    assert sdk.report_batch(*replayable).json()["duplicates"] == len(replayable)
    assert CusMonthStatement.objects.get(month=old_month.start).digest == statement.digest
    run = reconcile(timezone.now() + timedelta(seconds=1), all_months=True)
    assert (run.failed_tenants, list(run.differences.all())) == (0, [])
    output = io.StringIO()
    call_command("cus_evidence_verify", stdout=output)
    assert "1 days: usage rows dropped by retention" in output.getvalue()
    assert _dropped() == []


def test_figures_of_a_dropped_month_are_not_computed_again(
    replayable: list[dict[str, Any]], old_month: Month
) -> None:
    _dropped()
    day = _day(old_month, _TENTH_DAY).date()

    with pytest.raises(CommandError, match=f"Retention dropped evidence of {day} to {day}"):
        call_command("cus_telemetry_backfill", "--from", str(day))

    assert CusUsageDaily.objects.get(date=day).total_calls == 4


def test_a_day_that_differs_from_its_kept_hours_is_repaired_by_them(
    replayable: list[dict[str, Any]], old_month: Month
) -> None:
    _dropped()
    day = CusUsageDaily.objects.filter(date=_day(old_month, _TENTH_DAY).date())
    day.update(total_calls=7)

    reconcile(timezone.now() + timedelta(seconds=1))

    assert day.get().total_calls == 4
    assert totals_findings() == []


def test_what_comes_of_a_late_call_after_its_day_lost_rows_is_added_to_what_is_kept(
    sdk: SdkClient, old_month: Month, settings: Settings
) -> None:
    # On the month's last day: calls that came at once, and calls that came in the next month.
    occurred = _day(old_month, _LAST_DAY)
    sdk.report_batch(*_calls(), unmeasured(response_id="early"))
    _as_of(occurred)
    sdk.report_batch(record(agent_id="late"), unmeasured(response_id="late"))
    sdk.report(unmeasured(response_id="later"))
    _as_of(_day(old_month.shifted(1), _TENTH_DAY), occurred)
    _all_done()
    assert _dropped()[-1] == OldMonth(old_month, 5)

    sdk.report(settling("late"))
    correct(CusLLMUsage.objects.filter(agent_id="late").get(), by_microcents=-7)
    _roll_up()

    day = CusUsageDaily.objects.get(date=occurred.date())
    assert (day.total_calls, day.settled, day.correction_microcents) == (7, 1, -7)
    added = CusUsageHourly.objects.filter(kept=False)
    assert sorted(added.values_list("agent_id", "settled", "correction_microcents")) == [
        ("", 1, 0), ("late", 0, -7),
    ]  # fmt: skip
    assert totals_findings() == []
    run = reconcile(timezone.now() + timedelta(seconds=1))
    assert list(run.differences.all()) == []

    # The month in which these calls came is dropped, too: what was added is kept with the rest.
    settings.CUS_RETENTION_MONTHS = 3
    _long_after_the_last_addition()
    assert _dropped() == [OldMonth(old_month.shifted(1), 3)]
    assert not CusUsageHourly.objects.filter(kept=False).exists()
    rollup_usage(timezone.now() + timedelta(seconds=1))
    assert totals_findings() == []


def _long_after_the_last_addition() -> None:
    """Settlements and corrections of now came an hour ago, and were sealed with their day."""
    as_if(
        *(
            f"UPDATE {table} SET created_at = created_at - interval '1 hour'"
            f" WHERE created_at > now() - interval '1 hour'"
            for table in ("cus_usage_settlements", "cus_cost_adjustments")
        )
    )


def test_hours_are_kept_of_just_those_days_that_lost_rows(
    replayable: list[dict[str, Any]], old_month: Month, integration: CusIntegration
) -> None:
    begin, end = old_month.start - timedelta(days=40), old_month.shifted(1).start
    hours = range((end + timedelta(days=4) - begin) // timedelta(hours=1))
    CusUsageHourly.objects.bulk_create(
        CusUsageHourly(
            tenant_id=integration.tenant_id, integration_id=integration.id,
            hour=begin + timedelta(hours=number), provider="openai", model="m", agent_id="",
            policy_result="allowed", has_error=False,
        )
        for number in hours
    )  # fmt: skip

    _dropped()

    kept = set(CusUsageHourly.objects.filter(kept=True).values_list("hour", flat=True))
    lost = {day: old_month in TenantDay(day, integration.tenant_id).months for day in _days(kept)}
    assert set(lost.values()) == {True}
    every = set(CusUsageHourly.objects.values_list("hour", flat=True))
    stays = [day for day in _days(every - kept) if day <= end.date() + timedelta(days=3)]
    assert not any(old_month in TenantDay(day, integration.tenant_id).months for day in stays)


def test_days_of_calls_that_were_allowed_to_come_later_than_now_are_kept_too(
    sdk: SdkClient, old_month: Month, settings: Settings
) -> None:
    occurred = old_month.start - timedelta(days=60)
    settings.CUS_TELEMETRY_MAX_AGE_DAYS = 90
    sdk.report_batch(record(agent_id="a"), unmeasured(response_id="r"))
    _as_of(_day(old_month, _TENTH_DAY), occurred)
    _all_done()
    settings.CUS_TELEMETRY_MAX_AGE_DAYS = 35

    assert _dropped()[-1] == OldMonth(old_month, 2)

    assert set(CusUsageHourly.objects.values_list("hour", "kept")) == {(occurred, True)}
    assert not TenantDay(
        occurred.date(), CusUsageHourly.objects.all()[0].tenant_id
    ).has_all_evidence()
    assert totals_findings() == []


def _days(hours: set[datetime]) -> set[date]:
    return {hour.astimezone(UTC).date() for hour in hours}


def test_a_month_waits_until_no_hour_of_it_is_in_motion(
    sdk: SdkClient, replayable: list[dict[str, Any]], old_month: Month
) -> None:
    correct(CusLLMUsage.objects.filter(agent_id="b").get(), by_microcents=-7)
    assert "hours are being recomputed" in str(_dropped()[-1].obstacle)
    _roll_up()
    # Whether a correction of the last minutes is in the hours depends on when its hour was computed.
    assert "hours are being recomputed" in str(_dropped()[-1].obstacle)

    _long_after_the_last_addition()

    assert _dropped() == [OldMonth(old_month, 5)]
    assert totals_findings() == []


def _unsealed(_month: Month) -> str:
    as_if(
        "DELETE FROM cus_evidence_seals WHERE day >= (SELECT max(day) - 40 FROM cus_evidence_seals)",
        "DELETE FROM cus_evidence_seals WHERE day > (SELECT min(day) FROM cus_evidence_seals)",
    )
    return "its days are not sealed for the tenant"


def _open(_month: Month) -> str:
    as_if("DELETE FROM cus_month_statements")
    return "it is not closed for the tenant"


def _altered(_month: Month) -> str:
    as_if("UPDATE cus_llm_usage SET latency_ms = 8 WHERE agent_id = 'a'")
    return "usage rows: altered"


def _added_for_a_stranger(month: Month) -> str:
    at = _day(month, _TENTH_DAY)
    values = f"gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '{at}', '{at}'"
    as_if(
        "INSERT INTO cus_llm_usage (id, tenant_id, integration_id, created_at, occurred_at, call_id,"
        " provider, model, tokens_in, tokens_out, cost_cents, cost_microcents, pricing)"
        f" VALUES ({values}, 'x', 'openai', 'gpt-4o', 1, 1, 1, 1, 'table')"
    )
    return "it has 6 rows, and its seals 5"


@pytest.mark.parametrize("spoil", [_unsealed, _open, _altered, _added_for_a_stranger])
def test_a_month_that_is_not_sealed_not_closed_or_not_as_sealed_stays(
    spoil: Any, replayable: list[dict[str, Any]], old_month: Month
) -> None:
    reason = spoil(old_month)

    kept = _dropped()[-1]

    assert reason in str(kept.obstacle)
    assert kept.month == old_month
    assert old_month in existing_months()
    assert not CusDroppedMonth.objects.filter(month=old_month.start).exists()
    assert not CusUsageHourly.objects.filter(kept=True).exists()


def test_a_month_whose_days_are_not_final_stays(
    replayable: list[dict[str, Any]], old_month: Month, settings: Settings
) -> None:
    settings.CUS_TELEMETRY_MAX_AGE_DAYS = 200

    assert "not final" in str(_dropped()[-1].obstacle)
    assert old_month in existing_months()


class Killed(BaseException):
    """The process dies here."""


def _die(*_arguments: Any) -> None:
    raise Killed


@pytest.mark.parametrize("step", ["_FINISH_DETACHING", "_DETACH", "_DROP"])
def test_a_run_that_is_killed_after_the_month_is_noted_is_finished_by_the_next(
    step: str, replayable: list[dict[str, Any]], old_month: Month, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _figures()
    with monkeypatch.context() as patch:
        if step == "_DETACH":
            patch.setattr(service, "drop_partition", _die)
        elif step == "_DROP":
            patch.setattr(service, "drop_partition", _detach_and_die)
        else:
            patch.setattr(service, "drop_partition", _begin_to_detach_and_die)
        with pytest.raises(Killed):
            _dropped()
    assert CusDroppedMonth.objects.filter(dropped_at=None).count() == 1
    _roll_up()
    assert totals_findings() == []

    _dropped()

    assert not CusDroppedMonth.objects.filter(dropped_at=None).exists()
    assert {old_month, old_month.shifted(-1)}.isdisjoint(existing_months())
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [old_month.partition])
        assert cursor.fetchone() == (None,)
    assert _figures() == before
    assert totals_findings() == []


def _detach_and_die(month: Month, using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(f"ALTER TABLE cus_llm_usage DETACH PARTITION {month.partition} CONCURRENTLY")
    raise Killed


def _begin_to_detach_and_die(month: Month, using: str) -> None:
    """A reader's transaction keeps the month from being detached until the owner gives up."""
    with _reader(), connections[using].cursor() as cursor:
        cursor.execute("SET statement_timeout = '1s'")
        with pytest.raises(DatabaseError):
            cursor.execute(
                f"ALTER TABLE cus_llm_usage DETACH PARTITION {month.partition} CONCURRENTLY"
            )
        cursor.execute("RESET statement_timeout")
        cursor.execute(partitions._DETACHING, [month.partition])
        assert cursor.fetchall() == [(True,)]
    raise Killed


def _reader() -> "psycopg.Connection[tuple[object, ...]]":
    """A connection whose transaction reads the usage table until it is closed."""
    reader = _superuser(str(connections["default"].settings_dict["NAME"]))
    reader.autocommit = False
    reader.execute("SELECT count(*) FROM cus_llm_usage")
    return reader


def test_ingest_goes_on_while_a_month_waits_for_a_reader_to_be_dropped(
    sdk: SdkClient, replayable: list[dict[str, Any]], old_month: Month
) -> None:
    with _reader() as reader:
        run = threading.Thread(target=_drop_in_a_thread)
        run.start()
        try:
            with _superuser(str(connections["default"].settings_dict["NAME"])) as watcher:
                _wait_until_it_detaches(watcher, run)
            sdk.report_calls(2)
        finally:
            reader.rollback()
            run.join()

    assert old_month not in existing_months()
    assert CusLLMUsage.objects.count() == 4
    _roll_up()
    assert totals_findings() == []


def _drop_in_a_thread() -> None:
    try:
        _dropped()
    finally:
        connections.close_all()


def _wait_until_it_detaches(
    watcher: "psycopg.Connection[tuple[object, ...]]", run: threading.Thread
) -> None:
    pause = threading.Event()
    for _ in range(1_000):
        found = watcher.execute("SELECT count(*) FROM pg_inherits WHERE inhdetachpending")
        if found.fetchone() == (1,):
            return
        assert run.is_alive(), "the run ended by itself"
        pause.wait(0.02)
    raise AssertionError("the month never began to be detached")


def test_a_second_run_at_once_does_nothing(replayable: list[dict[str, Any]]) -> None:
    with _superuser(str(connections["default"].settings_dict["NAME"])) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [service._LOCK_KEY])
        assert _dropped() == []
        other.execute("SELECT pg_advisory_unlock_all()")

    assert len(_dropped()) == 2


def test_every_month_is_kept_unless_a_number_is_set(
    replayable: list[dict[str, Any]], old_month: Month, settings: Settings
) -> None:
    settings.CUS_RETENTION_MONTHS = 0

    cus_drop_old_months()

    assert old_month in existing_months()
    assert "every month is kept" in _command()


def test_three_months_are_kept_whatever_is_set(
    old_month: Month, settings: Settings, sdk: SdkClient
) -> None:
    settings.CUS_RETENTION_MONTHS = 1

    assert [one.month for one in _dropped()][-1] == old_month.shifted(1)
    assert [error.id for error in check_retention()] == ["cus.E006"]
    settings.CUS_RETENTION_MONTHS = 3
    assert check_retention() == []


def test_a_dry_run_names_months_and_drops_none(
    replayable: list[dict[str, Any]], old_month: Month
) -> None:
    assert f"{old_month} would be dropped, with 5 rows." in _command("--dry-run")
    assert old_month in existing_months()

    assert f"{old_month} dropped, with 5 rows." in _command()


def test_the_command_says_why_a_month_stays(replayable: list[dict[str, Any]]) -> None:
    as_if("DELETE FROM cus_month_statements")

    output = io.StringIO()
    with pytest.raises(CommandError, match="1 months are old enough and can't be dropped"):
        call_command("cus_telemetry_retention", stdout=output)

    assert "can't be dropped: it is not closed for the tenant" in output.getvalue()


def _command(*arguments: str) -> str:
    output = io.StringIO()
    call_command("cus_telemetry_retention", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.parametrize(
    "attempt",
    [
        "INSERT INTO cus_dropped_months (month, rows) VALUES (now(), 0)",
        "DELETE FROM cus_dropped_months",
    ],
)
def test_the_application_can_note_no_month_as_dropped(attempt: str) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(attempt)


def test_figures_stay_if_somebody_dropped_a_month_by_hand(
    replayable: list[dict[str, Any]], old_month: Month, integration: CusIntegration
) -> None:
    before = _figures()
    with connections["owner"].cursor() as cursor:
        cursor.execute(f"DROP TABLE {old_month.partition}")
        cursor.execute(
            "INSERT INTO cus_rollup_due (tenant_id, hour) VALUES (%s, %s)",
            [integration.tenant_id, _day(old_month, _TENTH_DAY)],
        )

    _roll_up()

    assert _figures() == before


# The job that closes months


def _closed() -> list[tuple[uuid.UUID, date]]:
    return [(one.tenant_id, one.month) for one in close_months(database_now()) if one.statement]


def test_months_that_are_over_are_closed_for_each_tenant_that_received_something(
    sdk: SdkClient, integration: CusIntegration, old_month: Month
) -> None:
    sdk.report_calls(1)
    row = CusLLMUsage.objects.get()
    _as_of(_day(old_month, _TENTH_DAY))
    row = CusLLMUsage.objects.get(id=row.id)
    # A correction that came later makes a statement of its own month, though no call came in it.
    corrected = old_month.shifted(2)
    correct(row, by_microcents=-5, created_at=_day(corrected, _TENTH_DAY))
    SdkClient.of(make_integration()).report_calls(1)

    tenant_id = integration.tenant_id
    assert _closed() == [
        (tenant_id, old_month.start.date()), (tenant_id, corrected.start.date()),
    ]  # fmt: skip
    assert _closed() == []
    calls, corrections = CusMonthStatement.objects.order_by("month")
    assert (calls.totals["calls"], calls.totals["correction_microcents"]) == (1, 0)
    assert (corrections.totals["calls"], corrections.totals["correction_microcents"]) == (0, -5)
    assert calls.closed_by is None


def test_a_tenant_whose_month_fails_holds_up_no_other(
    sdk: SdkClient, integration: CusIntegration, old_month: Month, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_integration()
    for client in (sdk, SdkClient.of(other)):
        client.report_calls(1)
    _as_of(_day(old_month, _TENTH_DAY))
    with (
        broken(integration.tenant_id, table="cus_month_statements"),
        pytest.raises(CommandError, match="1 months could not be closed"),
    ):
        call_command("cus_close_months", stdout=io.StringIO(), stderr=io.StringIO())

    assert CusMonthStatement.objects.get().tenant_id == other.tenant_id
    assert _closed() == [(integration.tenant_id, old_month.start.date())]
