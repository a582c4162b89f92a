"""Attacks on the cap with an SDK key alone: holds without end, a sibling's key, false costs."""

import json
import time
from collections import Counter
from typing import Any

from tests.trust.cus_abuse.outcome import Outcome, Size
from tests.trust.cus_abuse.product import AttackedProduct
from tests.trust.cus_check_races import integration_of, reported
from tests.trust.cus_door import Door
from tests.trust.cus_race_callers import CHECK, asked

_BATCH = "/api/v1/cus/enforcement/batch"
_REPORT = "/api/v1/cus/telemetry/llm-usage"
_BYPASS = "/api/v1/cus/telemetry/bypass"
_AT_ONCE = 100
# As many holds as made reading them slower than a check waits, and how long they may take to make.
_MANY_HOLDS = 160_000
_MOST_SECONDS = 75.0
_BOUND = 10_000
_ONE_DOLLAR_CENTS = 100
_DEAR_CENTS = 99_999
_MOST_CALLS = 2_147_483_647
_COVERAGE_FOR_BLOCK = 95
# A product without counted cents has only those that were reported.
_COUNTED = """
SELECT coalesce(sum(coalesce((to_jsonb(total)->>'counted_cents')::bigint, cost_cents)), 0)::bigint
FROM cus_period_totals AS total WHERE integration_id = %s
"""
_ESTIMATE_OF_NOTHING = {
    "estimated_tokens": 0,
    "estimated_cost_cents": 0,
    "estimated_cost_microcents": 0,
}


def counted_cents(product: AttackedProduct, key: str) -> int:
    """What budgets count of an integration's month: counted cents (M3a), else those reported."""
    row = product.database.execute(_COUNTED, [integration_of(key)]).fetchone()
    assert row
    return int(row[0])


def holds_flood(product: AttackedProduct, size: Size) -> Outcome:
    """Batches of checks that estimate nothing, then calls that no budget has room for."""
    small, large = product.new_tenant()["keys"]
    bound = min(_BOUND, size.of(_BOUND, 300))
    # The bound has a setting by integration once there is one; a test lowers it.
    lowered = {} if bound == _BOUND else _bound_column(product, bound)
    product.set_limits(small, budget_limit_cents=_ONE_DOLLAR_CENTS, **lowered)
    product.set_limits(large, budget_limit_cents=150 * _ONE_DOLLAR_CENTS, **lowered)
    findings: list[str] = []
    lines = []
    for name, key, most in (
        ("$1 budget", small, size.of(_MANY_HOLDS, 500)),
        ("$150 budget", large, bound + 500),
    ):
        refusal = _hold_without_end(product, key, most, size)
        held = _live_holds(product, key)
        passed = _dear_calls(product, key, size)
        let_in = sum(count for told, count in passed.items() if told in _LET_IN)
        lines.append(f"{name}: {held:,} live holds, then {let_in} of {_AT_ONCE} dear calls pass")
        if degraded := passed["degraded"]:
            lines.append(f"{degraded} of them degraded")
        if let_in:
            findings.append(f"{let_in} calls of $999.99 were let in under a {name}: {passed}")
        if held > bound + _AT_ONCE:
            findings.append(f"{held:,} live holds, where {bound:,} are the bound")
        if key == large and refusal != "contention":
            findings.append(f"holds above the bound were told {refusal}, not contention")
    return Outcome("; ".join(lines), findings)


_LET_IN = ("allowed", "warned", "degraded")


def _bound_column(product: AttackedProduct, bound: int) -> dict[str, int]:
    found = product.database.execute(
        "SELECT 1 FROM information_schema.columns"
        " WHERE table_name = 'cus_integrations' AND column_name = 'max_live_holds'"
    ).fetchone()
    return {"max_live_holds": bound} if found else {}


def _hold_without_end(product: AttackedProduct, key: str, most: int, size: Size) -> str:
    """Take so many holds that cost nothing; what refused the last of them, if anything did."""
    door, refused = product.door(0, key), ""
    deadline = time.monotonic() + size.seconds(_MOST_SECONDS, 5.0)
    for start in range(0, most, _AT_ONCE):
        if time.monotonic() > deadline:
            break
        calls = [f"flood-{key[-6:]}-{start + number}" for number in range(_AT_ONCE)]
        body = {"requests": [{"call_id": call, **_ESTIMATE_OF_NOTHING} for call in calls]}
        told = Counter(map(_verdict, _decisions(door, body)))
        size.say(f"{start + _AT_ONCE:,} holds asked for: {dict(told)}")
        if told and not set(told) & set(_LET_IN):
            refused = max(told, key=lambda word: told[word])
            # Load is met as well: only what is refused again and again is a bound.
            if refused != "contention" or _still_contends(door, start):
                break
    door.close()
    return refused


def _still_contends(door: Door, start: int) -> bool:
    for attempt in range(5):
        time.sleep(0.2)
        body = asked(f"flood-again-{start}-{attempt}", 0)
        if _verdict(door.post(CHECK, body).json()) != "contention":
            return False
    return True


def _decisions(door: Door, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = door.post(_BATCH, json.dumps(body).encode())
    # 429 and 503 are answers to a flood, too.
    return list(answer.json()["decisions"]) if answer.status == 200 else []


def _verdict(decision: dict[str, Any]) -> str:
    if decision["degraded"]:
        return "degraded"
    code = str(decision["reasons"][0]["code"])
    return "contention" if code == "contention" else str(decision["result"])


def _live_holds(product: AttackedProduct, key: str) -> int:
    row = product.database.execute(
        "SELECT count(*) FROM cus_enforcement_holds WHERE integration_id = %s"
        " AND expires_at > now()",
        [integration_of(key)],
    ).fetchone()
    assert row
    return int(row[0])


def _dear_calls(product: AttackedProduct, key: str, size: Size) -> Counter[str]:
    door, told = product.door(0, key), Counter[str]()
    for number in range(_AT_ONCE):
        answer = door.post(CHECK, asked(f"dear-{key[-6:]}-{number}", _DEAR_CENTS))
        told[_verdict(answer.json()) if answer.status == 200 else str(answer.status)] += 1
        size.say(f"{number + 1} dear calls: {dict(told)}")
    door.close()
    return told


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
        let_in = _verdict(self._honest.post(CHECK, asked(call, 90)).json())
        if let_in not in _LET_IN:
            self.kept_out += 1
            self.findings.append(f"a sibling's check under its id had the owner's call {let_in}")
        held = _live_holds(self._product, self.owner)
        stolen = self._liar.post(_REPORT, reported(call, 0, tokens_in=0))
        if stolen.status != 201:
            self.findings.append(f"the sibling's own call was not accepted: {stolen}")
        self.removed += held - _live_holds(self._product, self.owner)
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
    told = _verdict(door.post(CHECK, asked("after", 1)).json())
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
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=20)
    try:
        headers = {"X-CUS-Integration-Key": key}
        connection.request("GET", "/api/v1/cus/enforcement/status", headers=headers)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()
