"""A loop stops at its dollar, in one process and in many of one session, with and without leases."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_holds.models import CusEnforcementHold, CusEnforcementLease
from tests.cus_factories import make_user, signed_in
from tests.e2e.cus_run_program import COST_CENTS
from tests.e2e.cus_served import ROOT, ServedProduct

pytestmark = pytest.mark.django_db(transaction=True)
# `CUS_RUN_PROCESSES=50` is the campaign's number.
PROCESSES = int(os.environ.get("CUS_RUN_PROCESSES", "5"))
CALLS = 100


class Programs:
    """Processes of one customer, each with a key of the integration."""

    def __init__(self, integration: CusIntegration, product: ServedProduct, spool: Path) -> None:
        _, key = issue_sdk_key(integration)
        self._options: dict[str, Any] = {
            "key": key,
            "url": product.base_url,
            "spool": str(spool),
            "session": "one-run",
        }

    def ran(self, processes: int, **options: Any) -> int:
        """How many calls of all processes together ran."""
        started = [self.start(**options) for _ in range(processes)]
        return sum(int(process.communicate(timeout=300)[0]) for process in started)

    def start(self, **options: Any) -> "subprocess.Popen[bytes]":
        """A process that has begun."""
        said = json.dumps(self._options | options)
        command = [sys.executable, "-m", "tests.e2e.cus_run_program", said]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe)


@pytest.fixture
def programs(integration: CusIntegration, product: ServedProduct, tmp_path: Path) -> Programs:
    return Programs(integration, product, tmp_path)


def _costs(integration: CusIntegration) -> list[int]:
    """The cents of each call of the session that ran."""
    rows = CusLLMUsage.objects.filter(integration_id=integration.id, session_id="one-run")
    return [row.counted_cents or 0 for row in rows.exclude(policy_result="blocked")]


def test_programs_go_on_after_an_admin_has_raised_their_budget_and_stop_at_the_new_one(
    programs: Programs, integration: CusIntegration
) -> None:
    options = {"enforce": "auto", "budget_cents": 100, "calls": 10, "rounds": 2}
    with programs.start(**options) as first, programs.start(**options) as second:
        assert _said(first) + _said(second) == 5
        admin = signed_in(make_user("admin", integration.tenant))
        answer = admin.patch(
            f"/api/v1/cus/integrations/{integration.id}/run-limits/one-run",
            {"cents": 200, "reason": "The report has to be done today."},
            content_type="application/json",
        )
        assert answer.status_code == 200, answer.content
        for process in (first, second):
            assert process.stdin
            process.stdin.write(b"\n")
            process.stdin.flush()
        assert _said(first) + _said(second) == 6
    # A process that begins now knows only what code says, and the session has spent $1.98.
    assert programs.ran(1, enforce="auto", budget_cents=100, calls=5) == 0
    assert _costs(integration) == [COST_CENTS] * 11


def _said(process: "subprocess.Popen[bytes]") -> int:
    """How many calls of the process' round ran."""
    assert process.stdout
    return int(process.stdout.readline())


@pytest.mark.parametrize("enforce", ["auto", "check"])
@pytest.mark.parametrize("processes", [1, PROCESSES], ids=["one process", "many processes"])
def test_a_loop_of_calls_stops_at_its_dollar(
    programs: Programs, integration: CusIntegration, processes: int, enforce: str
) -> None:
    ran = programs.ran(
        processes, enforce=enforce, budget_cents=100, calls=max(CALLS // processes, 2)
    )
    assert ran == 5
    assert _costs(integration) == [COST_CENTS] * 5
    assert not CusEnforcementHold.objects.filter(integration_id=integration.id).exists()


def test_processes_with_leases_of_a_session_spend_its_budget_and_no_more(
    programs: Programs, integration: CusIntegration
) -> None:
    """Of a budget that pays for leases of four calls each."""
    ran = programs.ran(2, enforce="auto", budget_cents=2_000, calls=80)
    costs = _costs(integration)
    assert (len(costs), sum(costs)) == (ran, ran * COST_CENTS)
    assert sum(costs) <= 2_000
    assert sum(costs) > 2_000 - 2 * COST_CENTS
    leased = CusLLMUsage.objects.filter(integration_id=integration.id, lease_id__isnull=False)
    assert leased.exists()
    # Nothing is left of the leases: what was not spent was returned at the programs' end.
    leases = CusEnforcementLease.objects.filter(integration_id=integration.id)
    assert sum(lease.microcents for lease in leases) == 0


def test_the_least_budget_that_a_process_names_counts_for_all(
    programs: Programs, integration: CusIntegration
) -> None:
    assert programs.ran(1, enforce="auto", budget_cents=45, calls=5) == 2
    assert programs.ran(1, enforce="auto", budget_cents=1_000, calls=5) == 0
    assert sum(_costs(integration)) == 2 * COST_CENTS
