"""Processes that check, lend, land and die at once pass no limit at a scope, and all room is used."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import connections

from aos_sdk.cus_wire import CusReasonCode
from benchmarks.cus_served import database_urls
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from telemetry.cus_holds.sweeping import sweep
from tests.conftest import _superuser, as_if
from tests.cus_factories import make_integration
from tests.cus_limits import make_limit
from tests.e2e.cus_served import ROOT
from tests.enforcement.test_cus_scoped_limits import check
from tests.trust.cus_audit import findings
from tests.trust.cus_limits_racers import AGENTS, MODELS, SESSIONS, TOKENS_A_CENT, USERS
from tests.trust.cus_memory import PeakMemory
from tests.trust.cus_real_product import Row

pytestmark = pytest.mark.django_db(transaction=True)

# What is told beside the answers to calls.
_NO_ANSWERS = {"cents", "killed", "landed", "without evidence"}
# Between two looks at the limits, which leave the processors to the processes.
_PAUSE_SECONDS = 0.05

# What is taken of each limit and value, in the limit's unit, in windows that no race outlives.
TAKEN = """
SELECT scoped.scope, taken.value, scoped.amount, sum(CASE scoped.unit WHEN 'cents' THEN taken.cents
    WHEN 'tokens' THEN taken.tokens ELSE taken.calls END), scoped.unit
FROM (
    SELECT limit_id, value, calls, cents, tokens FROM cus_limit_totals
    UNION ALL
    SELECT limit_id, value, held_calls + leased_calls, held_cents + leased_cents,
        held_tokens + leased_tokens FROM cus_limit_holds
) AS taken JOIN cus_scoped_limits AS scoped ON scoped.id = taken.limit_id
GROUP BY 1, 2, 3, 5
"""


def passed(auditor: "psycopg.Connection[Row]") -> list[str]:
    """The limits that are passed at this moment."""
    return [
        f"{scope} {value}: {taken} of {amount}"
        for scope, value, amount, taken, _ in auditor.execute(TAKEN).fetchall()
        if int(str(taken)) > int(str(amount))
    ]


def test_no_limit_is_passed_by_processes_that_race_and_die(
    integration: CusIntegration,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: int = request.config.getoption("--limit-calls")
    processes: int = request.config.getoption("--limit-processes")
    CusIntegration.objects.filter(id=integration.id).update(allow_unpriced=True, max_live_holds=0)
    # Calls cost two cents and twenty tokens on average; all of each limit will be asked for.
    limits = {
        "session_id": _each(integration, "session_id", calls // 2, SESSIONS, window="month"),
        "agent_id": _each(integration, "agent_id", calls // 2, AGENTS, window="day"),
        "end_user": _each(
            integration, "end_user", calls * TOKENS_A_CENT // 2, USERS, window="day", unit="tokens"
        ),
        "model": _each(integration, "model", calls // 3, MODELS, window="month", unit="calls"),
    }
    orders = _orders([integration], calls, processes)
    with _superuser(str(connections["default"].settings_dict["NAME"])) as auditor:
        memory, began = PeakMemory(), time.monotonic()
        told = _race(orders, auditor, memory)
        with capsys.disabled():
            sys.stdout.write(f"\n{_described(told, time.monotonic() - began, memory)}\n")
        assert told["killed"] == orders["killed"]
        assert told["without evidence"] == 0
        assert told["leased"] > 0
        assert told["checked"] > 0
        assert told["landed"] == told["leased"] + told["checked"]
        assert passed(auditor) == []
        _bury_the_dead()
        _use_the_rest(integration, limits, auditor)
        assert passed(auditor) == []
        assert findings(auditor) == []


def test_processes_of_several_integrations_pass_no_limit_of_their_tenant(
    integration: CusIntegration, request: pytest.FixtureRequest
) -> None:
    calls: int = request.config.getoption("--limit-calls")
    processes: int = request.config.getoption("--limit-processes")
    integrations = [integration, make_integration(integration.tenant)]
    CusIntegration.objects.update(allow_unpriced=True, max_live_holds=0)
    make_limit(integration, "tenant", "", amount=calls, window="day")
    make_limit(integration, "tenant", "", amount=calls * TOKENS_A_CENT, unit="tokens")
    with _superuser(str(connections["default"].settings_dict["NAME"])) as auditor:
        told = _race(_orders(integrations, calls, processes), auditor, PeakMemory())
        assert told["without evidence"] == 0
        assert told["leased"] > 0
        assert told["refused by tenant"] > 0
        assert passed(auditor) == []
        _bury_the_dead()
        for one in integrations:
            _until_refused(one, {})
        assert ("tenant", "", calls, calls, "cents") in auditor.execute(TAKEN).fetchall()
        assert passed(auditor) == []
        assert findings(auditor) == []


def _orders(integrations: list[CusIntegration], calls: int, processes: int) -> dict[str, Any]:
    holders = 10 if processes >= 50 else 3
    return {
        "tenant": str(integrations[0].tenant_id),
        "integrations": [[str(one.id), issue_sdk_key(one)[1]] for one in integrations],
        "processes": processes,
        "holders": holders,
        "calls": -(-calls // (processes * holders)),
        "killed": max(processes // 10, 1),
        "seed": "limits",
    }


def _bury_the_dead() -> None:
    """The room of the dead returns when their calls can run no more."""
    for table in ("leases", "holds"):
        as_if(f"UPDATE cus_enforcement_{table} SET expires_at = now()")
    sweep()


def _each(
    integration: CusIntegration, scope: str, room: int, values: tuple[str, ...], **fields: Any
) -> CusScopedLimit:
    amount = max(room // len(values), 10)
    return make_limit(integration, scope, None, amount=amount, **fields)


def _race(
    orders: dict[str, Any], auditor: "psycopg.Connection[Row]", memory: PeakMemory
) -> Counter[str]:
    """What the processes were told; meanwhile no limit is passed at any moment."""
    environment = {
        **os.environ,
        **database_urls(str(connections["default"].settings_dict["NAME"])),
        "DJANGO_SETTINGS_MODULE": "aos_project.settings",
        "CUS_ENFORCEMENT_POOL_SIZE": "1",
        "CUS_EVIDENCE_POOL_SIZE": "0",
        "CUS_CHECKS_PER_SECOND": "0",
    }
    moments = 0
    # A pipe that nobody reads would be full before the last process told its counts.
    with tempfile.TemporaryFile("w+") as output:
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.trust.cus_limits_racers", json.dumps(orders)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            start_new_session=True,
        )
        try:
            while program.poll() is None:
                assert passed(auditor) == []
                moments += 1
                memory.look()
                time.sleep(_PAUSE_SECONDS)
        finally:
            # Of a race that found something, no process stays.
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
        output.seek(0)
        told = [Counter(json.loads(line)) for line in output]
    assert program.returncode == 0
    assert len(told) == orders["processes"] - orders["killed"] + 1
    assert moments > 10
    return sum(told, Counter[str]())


def _described(told: Counter[str], seconds: float, memory: PeakMemory) -> str:
    answers = {what: count for what, count in told.items() if what not in _NO_ANSWERS}
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(answers.items()))
    return (
        f"{sum(answers.values()):,} calls in {seconds:,.0f} s ({counts});"
        f" {told['landed']:,} landed; {told['killed']} processes killed; at most {memory}"
    )


def _use_the_rest(
    integration: CusIntegration,
    limits: dict[str, CusScopedLimit],
    auditor: "psycopg.Connection[Row]",
) -> None:
    """Calls of one cent run until each combination of names is refused; then a limit of it is full."""
    for session in SESSIONS:
        for agent in AGENTS:
            for user in USERS:
                for model in MODELS:
                    names = {
                        "session_id": session,
                        "agent_id": agent,
                        "end_user": user,
                        "model": model,
                    }
                    reason = _until_refused(integration, names)
                    taken = {
                        (scope, value): (taken, amount)
                        for scope, value, amount, taken, _ in auditor.execute(TAKEN).fetchall()
                    }
                    used, amount = taken[reason.scope, reason.scope_value]
                    spare = TOKENS_A_CENT if limits[reason.scope].unit == "tokens" else 1
                    assert int(str(amount)) - int(str(used)) < spare


def _until_refused(integration: CusIntegration, names: dict[str, str]) -> Any:
    """The reason for which a limit refuses a call at last. A machine that is busy yet refuses none."""
    for number in range(10**6):
        call_id = f"rest-{'-'.join(names.values())}-{number}"
        fields: dict[str, Any] = {"estimated_tokens": TOKENS_A_CENT, **names}
        decision = check(integration, call_id, 1, **fields).decision
        while decision.reasons[0].code == CusReasonCode.CONTENTION:
            time.sleep(_PAUSE_SECONDS)
            decision = check(integration, call_id, 1, **fields).decision
        if not decision.admits:
            return decision.reasons[0]
    raise AssertionError("nothing was ever refused")
