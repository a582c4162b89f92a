"""Attacks on the cap with an SDK key alone: a sibling's key, false costs."""

import http.client
import json
import time
from collections import Counter
from typing import Any

from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_abuse.verdicts import LET_IN, live_holds, verdict
from tests.trust.cus_check_races import integration_of, reported
from tests.trust.cus_race_callers import CHECK, asked

_REPORT = "/api/v1/cus/telemetry/llm-usage"
_BYPASS = "/api/v1/cus/telemetry/bypass"
_MOST_CALLS = 2_147_483_647
_COVERAGE_FOR_BLOCK = 95
# A product without counted cents has only those that were reported.
_COUNTED = """
SELECT coalesce(sum(coalesce((to_jsonb(total)->>'counted_cents')::bigint, cost_cents)), 0)::bigint
FROM cus_period_totals AS total WHERE integration_id = %s
"""


def counted_cents(product: AttackedProduct, key: str) -> int:
    """What budgets count of an integration's month: counted cents (M3a), else those reported."""
    row = product.database.execute(_COUNTED, [integration_of(key)]).fetchone()
    assert row
    return int(row[0])


def sibling(product: AttackedProduct, size: Size) -> Outcome:
    """A sibling integration's key reports guessed calls at no cost before their own program does."""
    theft = _Theft(product)
    calls = size.of(100, 6)
    product.set_limits(theft.owner, budget_limit_cents=200 * calls)
    for number in range(calls):
        # By turns the liar asks first, which must not keep the owner out.
        theft.attempt(f"guessed-{number}", asks_first=number % 2 == 1)
    theft.end()
    counted, told = counted_cents(product, theft.owner), theft.told
    findings = theft.findings[:5]
    if theft.removed:
        findings.append(f"{theft.removed} holds of the other integration were removed")
    if told != Counter({201: calls}):
        findings.append(f"honest reports were answered {dict(told)}")
    if counted != 90 * calls:
        findings.append(f"{counted} cents are counted of {90 * calls}")
    figures = (
        f"{calls} calls of 90 cents: {theft.kept_out} kept out, {theft.removed} holds removed,"
        f" {told[409]} honest reports called a conflict,"
        f" {counted:,} of {90 * calls:,} cents counted"
    )
    return Outcome(figures, findings)


class _Theft:
    """An owner's program, and one with a key of a sibling integration that guesses its calls."""

    def __init__(self, product: AttackedProduct) -> None:
        self._product = product
        self.owner, sibling_key = product.new_tenant()["keys"]
        self._honest, self._liar = product.door(0, self.owner), product.door(0, sibling_key)
        self.removed = self.kept_out = 0
        self.told: Counter[int] = Counter()
        self.findings: list[str] = []

    def attempt(self, call: str, *, asks_first: bool) -> None:
        """One call of the owner's, which the liar reports before the owner does."""
        if asks_first:
            self._liar.post(CHECK, asked(call, 0))
        let_in = verdict(self._honest.post(CHECK, asked(call, 90)).json())
        if let_in not in LET_IN:
            self.kept_out += 1
            self.findings.append(f"a sibling's check under its id had the owner's call {let_in}")
        held = live_holds(self._product, self.owner)
        stolen = self._liar.post(_REPORT, reported(call, 0, tokens_in=0))
        if stolen.status != 201:
            self.findings.append(f"the sibling's own call was not accepted: {stolen}")
        self.removed += held - live_holds(self._product, self.owner)
        self.told[self._honest.post(_REPORT, reported(call, 90)).status] += 1

    def end(self) -> None:
        """Close the connections of both."""
        self._honest.close()
        self._liar.close()


def understated(product: AttackedProduct, size: Size) -> Outcome:
    """A program says that its calls cost nothing, and that all but a few calls are governed."""
    key = product.new_tenant()["keys"][0]
    product.set_limits(key, budget_limit_cents=40)
    door = product.door(0, key)
    body = reported("understated", 0, tokens_in=200_000)
    stored = door.post(_REPORT, body)
    counted = counted_cents(product, key)
    told = verdict(door.post(CHECK, asked("after", 1)).json())
    bypass = door.post(_BYPASS, bypass_report())
    coverage = status_of(product, key)["coverage_percent"]
    door.close()
    findings = []
    if stored.status != 201 or bypass.status >= 300:
        findings.append(f"the reports were not stored: {stored} {bypass}")
    # 200,000 tokens of gpt-4o's input at $2.50 a million: half a dollar.
    if counted != 50:
        findings.append(f"{counted} cents are counted of a call that costs 50")
    if told != "blocked":
        findings.append(f"the next call under a budget of 40 cents was {told}")
    if coverage is not None and float(coverage) >= _COVERAGE_FOR_BLOCK:
        findings.append(f"one report bought {coverage} % coverage")
    figures = (
        f"200,000 tokens at 0 cents: {counted} cents counted, the next call {told};"
        f" governed_calls {_MOST_CALLS} beside a million bypassed: {coverage} % coverage"
    )
    return Outcome(figures, findings)


def bypass_report() -> bytes:
    now = time.time()
    window = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - ago)) for ago in (60, 1)]
    report = {
        "window_start": window[0],
        "window_end": window[1],
        "governed_calls": _MOST_CALLS,
        "bypassed_calls": 1_000_000,
        "process_id": "liar",
    }
    return json.dumps(report).encode()


def status_of(product: AttackedProduct, key: str) -> dict[str, Any]:
    """What `/enforcement/status` says of the key's integration."""
    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=20)
    try:
        headers = {"X-CUS-Integration-Key": key}
        connection.request("GET", "/api/v1/cus/enforcement/status", headers=headers)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()
