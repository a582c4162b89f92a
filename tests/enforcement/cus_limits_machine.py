"""Random histories of limits at scopes, each step beside the oracle of `cus_limits_oracle`."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from django.db import connections
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.partitions import existing_months, make_partitions
from telemetry.cus_holds.sweeping import sweep_limits
from tests.conftest import _superuser, cleaner
from tests.cus_factories import SdkClient, correct, make_integration, record
from tests.cus_limits import change_limit, make_limit
from tests.enforcement.cus_limits_oracle import Amounts, Call, Finding, Limit, Oracle
from tests.enforcement.test_cus_scoped_limits import check

# Shortly before the end of a year within an ISO week, of a February, and of a leap day's eve.
STARTS = (
    datetime(2026, 12, 31, 23, 59, 30, 250_000, tzinfo=UTC),
    datetime(2027, 2, 28, 23, 58, 59, 999_000, tzinfo=UTC),
    datetime(2028, 2, 28, 23, 59, 59, 500_000, tzinfo=UTC),
)
_LATEST = timedelta(days=50)
_ids = itertools.count(1)
_MICRO = 1_000_000

names_of_calls = st.fixed_dictionaries(
    {"model": st.sampled_from(["house-a", "house-b"])},
    optional={
        "agent_id": st.sampled_from(["a", "b"]),
        "session_id": st.sampled_from(["s", "t"]),
        "end_user": st.sampled_from(["u", "v"]),
        "tag": st.sampled_from(["red", "blue"]),
    },
)
_VALUES = {
    "model": "house-a",
    "agent_id": "a",
    "session_id": "s",
    "end_user": "u",
    "tag": "red",
}
scopes = st.sampled_from([*_VALUES, "integration", "tenant"])
windows = st.sampled_from(["minute", "day", "week", "month", "life"])
_AMOUNTS = {"cents": 30, "tokens": 200, "calls": 6}
costs = st.integers(1, 8)
_STEPS = (
    timedelta(milliseconds=400),
    timedelta(seconds=20),
    timedelta(seconds=61),
    timedelta(hours=5),
    timedelta(days=1),
    timedelta(days=4),
    timedelta(days=17),
)


class LimitsMachine(RuleBasedStateMachine):
    """An integration, whose limits, calls and clock change at random, and another of its tenant."""

    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.integration = make_integration(allow_unpriced=True)
        # So that calls are held for also where no limit at a scope counts them.
        self.other = make_integration(self.integration.tenant, allow_unpriced=True)
        both = [self.integration.id, self.other.id]
        CusIntegration.objects.filter(id__in=both).update(token_limit_month=10**15)
        self.sdk = SdkClient.of(self.integration)
        self.other_sdk = SdkClient.of(self.other)
        self.oracle = Oracle()
        self.rows: dict[str, CusScopedLimit] = {}

    @initialize(start=st.sampled_from(STARTS))
    def begin(self, start: datetime) -> None:
        self.start = start
        move(start)

    @invariant()
    def each_step_is_counted(self) -> None:
        LimitsMachine.steps += 1

    @rule(step=st.sampled_from(_STEPS))
    def time_goes_on(self, step: timedelta) -> None:
        if now() + step < self.start + _LATEST:
            move(now() + step)

    @rule(
        scope=scopes,
        is_default=st.booleans(),
        unit=st.sampled_from(list(_AMOUNTS)),
        window=windows,
        part=st.integers(1, 100),
        exact=st.booleans(),
        hours=st.one_of(st.none(), st.none(), st.integers(1, 60)),
    )
    def a_limit_is_made(
        self,
        scope: str,
        is_default: bool,
        unit: str,
        window: str,
        part: int,
        exact: bool,
        hours: int | None,
    ) -> None:
        value = "" if scope in ("integration", "tenant") else None if is_default else _VALUES[scope]
        permanent = hours is None
        living = [one for one in self.oracle.limits if not one.deleted]
        if len(living) >= 8 or any(
            permanent
            and one.valid_until is None
            and (one.kind, one.value) == (((scope, unit, window)), value)
            for one in living
        ):
            return
        limit = Limit(
            "",
            scope,
            value,
            unit,
            window,
            max(_AMOUNTS[unit] * part // 100, 1),
            "exact" if exact and unit == "cents" else "rounded",
            now(),
            None if hours is None else now() + timedelta(hours=hours),
        )
        fields: dict[str, Any] = {
            name: getattr(limit, name)
            for name in ("unit", "window", "amount", "basis", "valid_from", "valid_until")
        }
        tag = "team" if scope == "tag" else ""
        row = make_limit(self.integration, scope, value, tag=tag, **fields)
        limit.id = str(row.id)
        self.rows[limit.id] = row
        self.oracle.limits.append(limit)

    @rule(place=st.integers(0, 7), part=st.integers(1, 150))
    def an_amount_is_changed(self, place: int, part: int) -> None:
        if limit := self._living(place):
            limit.amount = max(_AMOUNTS[limit.unit] * part // 100, 1)
            change_limit(self.rows[limit.id], amount=limit.amount)

    @rule(place=st.integers(0, 7))
    def a_limit_is_switched(self, place: int) -> None:
        if limit := self._living(place):
            limit.enabled = not limit.enabled
            change_limit(self.rows[limit.id], enabled=limit.enabled)

    @rule(place=st.integers(0, 7))
    def a_limit_is_deleted(self, place: int) -> None:
        if limit := self._living(place):
            limit.deleted = True
            change_limit(self.rows[limit.id], deleted_at=now())

    @rule(names=names_of_calls, cents=costs, tokens=st.integers(1, 60), elsewhere=st.booleans())
    def a_call_is_checked(
        self, names: dict[str, str], cents: int, tokens: int, elsewhere: bool
    ) -> None:
        self._check(Call(f"call-{next(_ids)}", names, elsewhere=elsewhere), cents, tokens)

    @rule(place=st.integers(0, 100), cents=costs, tokens=st.integers(1, 60))
    def a_call_is_checked_again(self, place: int, cents: int, tokens: int) -> None:
        running = [one for one in self.oracle.calls.values() if one.held_at and not one.used]
        if running:
            self._check(running[place % len(running)], cents, tokens)

    @rule(place=st.integers(0, 100), cents=costs, less=st.integers(0, 3), tokens=st.integers(1, 90))
    def a_call_lands(self, place: int, cents: int, less: int, tokens: int) -> None:
        running = [one for one in self.oracle.calls.values() if one.held_at and not one.used]
        if running:
            self._land(running[place % len(running)], cents, less, tokens)

    @rule(names=names_of_calls, cents=costs, tokens=st.integers(1, 60), elsewhere=st.booleans())
    def a_call_lands_that_nobody_checked(
        self, names: dict[str, str], cents: int, tokens: int, elsewhere: bool
    ) -> None:
        call = Call(f"call-{next(_ids)}", names, elsewhere=elsewhere)
        self.oracle.calls[call.id] = call
        self._land(call, cents, 0, tokens)

    @rule(place=st.integers(0, 100), by=st.integers(1, 3 * _MICRO), up=st.booleans())
    def a_cost_is_corrected(self, place: int, by: int, up: bool) -> None:
        by = by if up else -by
        calls = self.oracle.calls.values()
        landed = [one for one in calls if one.used and not one.corrected]
        if landed:
            call = landed[place % len(landed)]
            whose = self._integration_of(call).id
            row = CusLLMUsage.objects.get(integration_id=whose, call_id=call.id)
            correct(row, by_microcents=by, created_at=now())
            call.corrected = by

    @rule()
    def what_is_over_is_swept(self) -> None:
        sweep_limits()

    def _check(self, call: Call, cents: int, tokens: int) -> None:
        estimate = Amounts(cents, cents * _MICRO, tokens)
        findings = self.oracle.findings(call, now())
        fields: dict[str, Any] = fields_of(call.names)
        integration = self._integration_of(call)
        verdict = check(integration, call.id, cents, at=now(), estimated_tokens=tokens, **fields)
        seen = [(one.id, one.value, one.used, one.held) for one in verdict.facts.limits]
        assert sorted(seen) == sorted(map(_shown, findings))
        own = call.estimate
        covered = own is not None and own.cents >= cents and own.tokens >= tokens
        admits = covered or self.oracle.admits(findings, estimate)
        assert verdict.decision.admits == admits, (verdict, findings)
        if admits:
            self.oracle.calls[call.id] = call
            call.held_at = call.held_at or now()
            call.estimate = _most(own, estimate) if own else estimate

    def _land(self, call: Call, cents: int, less: int, tokens: int) -> None:
        microcents = cents * _MICRO - less * 100_000
        body = record(
            call_id=call.id,
            cost_cents=cents,
            provider_cost_microcents=microcents,
            tokens_in=tokens,
            tokens_out=0,
            timestamp=now().isoformat(),
            **fields_of(call.names),
        )
        sdk = self.other_sdk if call.elsewhere else self.sdk
        assert sdk.report(body).status_code == 201
        call.received_at, call.used = now(), Amounts(cents, microcents, tokens)

    def _integration_of(self, call: Call) -> CusIntegration:
        return self.other if call.elsewhere else self.integration

    def _living(self, place: int) -> Limit | None:
        living = [one for one in self.oracle.limits if not one.deleted]
        return living[place] if place < len(living) else None


def fields_of(names: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: value for name, value in names.items() if name != "tag"}
    return fields | ({"tags": [f"team={names['tag']}"]} if "tag" in names else {})


def _shown(finding: Finding) -> tuple[str, str, int, int]:
    return finding.limit.id, finding.value, finding.used, finding.held


def _most(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(
        max(one.cents, other.cents),
        max(one.microcents, other.microcents),
        max(one.tokens, other.tokens),
    )


# --- The clock ----------------------------------------------------------------------------------

_MADE = """
DROP SCHEMA IF EXISTS moved CASCADE;
CREATE SCHEMA moved;
CREATE TABLE moved.clock AS SELECT now() AS at;
CREATE FUNCTION moved.now() RETURNS timestamptz STABLE LANGUAGE sql
    AS $$ SELECT at FROM moved.clock $$;
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz STABLE LANGUAGE sql
    AS $$ SELECT at FROM moved.clock $$;
GRANT USAGE ON SCHEMA moved TO PUBLIC;
GRANT SELECT ON moved.clock TO PUBLIC;
"""
# The functions that count for limits look for `now` where the application's connection does.
_COUNTING = """
SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    AND proconfig::text LIKE '%search_path%' AND prosrc LIKE '%now()%'
"""
_moment: datetime | None = None


def now() -> datetime:
    assert _moment
    return _moment


def move(moment: datetime) -> None:
    """It is this moment now: for the database, and for Django."""
    global _moment
    _moment = moment
    database = str(connections["default"].settings_dict["NAME"])
    cleaner.connection(database).execute("UPDATE moved.clock SET at = %s", [moment])


@contextmanager
def clock_of_limits() -> Iterator[None]:
    """A clock that `move` moves; the months that histories reach have tables."""
    before = existing_months()
    for start in STARTS:
        make_partitions(start)
        make_partitions(start + _LATEST)
    with (
        _superuser(str(connections["default"].settings_dict["NAME"])) as superuser,
        pytest.MonkeyPatch.context() as patch,
    ):
        superuser.execute(_MADE.encode())
        move(STARTS[0])
        functions = [name for (name,) in superuser.execute(_COUNTING).fetchall()]
        try:
            for name in functions:
                _look(superuser, str(name), "public, moved, pg_catalog, pg_temp")
            connections["default"].close()
            with connections["default"].cursor() as cursor:
                cursor.execute("SET search_path = public, moved, pg_catalog")
            patch.setattr(timezone, "now", now)
            yield
        finally:
            connections["default"].close()
            for name in functions:
                _look(superuser, str(name), "public, pg_temp")
            superuser.execute("DROP SCHEMA moved CASCADE")
            for month in existing_months() - before:
                superuser.execute(f"DROP TABLE {month.partition}".encode())


def _look(superuser: Any, function: str, path: str) -> None:
    superuser.execute(f"ALTER FUNCTION {function} SET search_path = {path}".encode())
