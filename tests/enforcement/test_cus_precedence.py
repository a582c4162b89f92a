"""The order of checks (§15.1 to §15.4), against an oracle written in another style."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from enforcement.cus_rules.facts import POLICY, Authority, Facts, Usage
from enforcement.cus_rules.facts import facts_of as stored_facts
from enforcement.cus_rules.precedence import decide
from integrations.cus_lifecycle.limits import month_end
from telemetry.cus_money.amounts import Amounts
from tests.enforcement.cus_oracle import FILLINGS, Case, cases, expected

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
_LIMIT = 1_000
# (used, held, leased) of a limit of 1,000, for a call of 50.
_TAKEN = {
    "unlimited": (5_000, 0, 0),
    "free": (500, 100, 100),
    "near": (500, 200, 100),
    "full": (500, 300, 151),
    "over": (1_000, 0, 0),
}


def facts_of(case: Case, basis: str = "rounded") -> Facts:
    """A case in numbers."""
    scale = 1_000_000 if basis == "exact" else 1
    money, tokens = _TAKEN[case.budget], _TAKEN[case.tokens]
    used, held, leased = (
        # The unit that the budget does not bind says that there is plenty of room, or none.
        Amounts(cents, cents * scale, number) if basis == "rounded" else
        Amounts(99_999, cents * scale, number)
        for cents, number in zip(money, tokens, strict=True)
    )  # fmt: skip
    return Facts(
        call_id="call",
        model="gpt-4o",
        evaluated_at=NOW,
        authority=Authority(
            status=case.status,
            credential_state=case.credential,
            enforcement_level=case.level,
            budget_limit_cents=0 if case.budget == "unlimited" else _LIMIT,
            budget_basis=basis,
            token_limit_month=0 if case.tokens == "unlimited" else _LIMIT,
            rate_limit_rpm={"unlimited": 0, "free": 60, "over": 60}[case.rate],
            allow_unpriced=False,
            config_version=1,
        ),
        usage=None
        if case.degraded
        else Usage(
            used=used, held=held, leased=leased, admitted=59 + (case.rate != "free")
        ),
        estimate=Amounts(50, 50 * scale, 50),
        priced=case.priced,
    )  # fmt: skip


def test_every_combination_comes_out_as_section_15_says() -> None:
    table = cases()
    assert len(table) >= 1_000
    wrong = []
    for basis in ("rounded", "exact"):
        for case in table:
            decision = decide(facts_of(case, basis))
            outcome = (decision.result, decision.step, decision.reasons[0].code, decision.degraded)
            if outcome != expected(case):
                wrong.append((case, basis, outcome, expected(case)))
    assert wrong == []


def test_the_table_has_every_result_every_step_and_room_to_fail() -> None:
    outcomes = {expected(case) for case in cases()}
    assert {result for result, *_ in outcomes} == {
        "allowed", "warned", "throttled", "blocked", "hard_blocked",
    }  # fmt: skip
    assert {step for _, step, *_ in outcomes} == set(range(1, 10))
    assert len(FILLINGS) == len(_TAKEN)


def test_facts_survive_json_and_are_decided_the_same_again() -> None:
    for case in cases()[::7]:
        facts = facts_of(case)
        kept = msgspec.json.decode(msgspec.json.encode(facts), type=Facts)
        assert kept == facts
        assert decide(kept) == decide(facts)


def _facts(**changes: object) -> Facts:
    plain = facts_of(Case("enabled", "valid", "free", "free", "free", True, "block", False))
    return msgspec.structs.replace(plain, **changes)


def _authority(**changes: object) -> Authority:
    authority = _facts().authority
    assert authority
    return msgspec.structs.replace(authority, **changes)


# Authority under which one unit alone is limited, to 1,000.
_ONE_LIMIT: dict[str, dict[str, Any]] = {
    "cents": {"token_limit_month": 0},
    "microcents": {"token_limit_month": 0, "budget_basis": "exact"},
    "tokens": {"budget_limit_cents": 0},
}


@pytest.mark.parametrize(
    ("used", "held", "leased", "estimate", "result"),
    [
        (0, 0, 0, 1_000, "allowed"),
        (0, 0, 0, 1_001, "blocked"),
        (400, 200, 199, 201, "allowed"),
        (400, 200, 199, 202, "blocked"),
        (999, 0, 0, 1, "warned"),
        (999, 0, 0, 0, "warned"),
        (1_000, 0, 0, 0, "blocked"),
        (799, 0, 0, 0, "allowed"),
        (799, 1, 0, 0, "warned"),
        (0, 0, 800, 0, "warned"),
    ],
)
def test_a_limit_is_exceeded_by_one_and_near_from_80_percent(
    used: int, held: int, leased: int, estimate: int, result: str
) -> None:
    for name, limits in _ONE_LIMIT.items():

        def amounts(value: int, unit: str = name) -> Amounts:
            scale = 1_000_000 if unit == "microcents" else 1
            return Amounts(**{unit: value * scale})

        facts = _facts(
            authority=_authority(**limits),
            usage=Usage(used=amounts(used), held=amounts(held), leased=amounts(leased)),
            estimate=amounts(estimate),
        )
        assert decide(facts).result == result, name


@pytest.mark.parametrize(
    ("used", "held", "code"),
    [
        (999, 0, "estimate_exceeds_room"),
        (0, 999, "estimate_exceeds_room"),
        (1_000, 0, "budget_exceeded"),
        (900, 100, "budget_exceeded"),
    ],
)
def test_a_refusal_for_the_estimate_alone_says_to_ask_for_less(
    used: int, held: int, code: str
) -> None:
    facts = _facts(
        authority=_authority(token_limit_month=0),
        usage=Usage(used=Amounts(cents=used), held=Amounts(cents=held)),
        estimate=Amounts(cents=240),
    )
    (reason,) = decide(facts).reasons
    assert reason.code == code
    assert ("Set max_tokens" in reason.action) is (code == "estimate_exceeds_room")
    assert "this call may cost $2.40" in reason.message


def test_stored_facts_of_a_release_without_that_code_are_decided_as_then() -> None:
    policy = msgspec.structs.replace(POLICY, tells_estimates=False)
    facts = _facts(
        authority=_authority(token_limit_month=0),
        usage=Usage(used=Amounts(cents=999)),
        estimate=Amounts(cents=240),
        policy=policy,
    )
    stored = msgspec.to_builtins(facts)
    del stored["policy"]["tells_estimates"]
    assert decide(stored_facts(stored)).reasons[0].code == "budget_exceeded"


@pytest.mark.parametrize("level", ["visibility", "control_plane", "warn", "throttle", "block"])
def test_what_would_run_uncounted_or_is_unknown_is_refused_at_every_level(level: str) -> None:
    authority = _authority(enforcement_level=level)
    recorded = decide(_facts(authority=authority, recorded=True))
    assert (recorded.result, recorded.reasons[0].code) == ("hard_blocked", "call_recorded")
    gone = decide(_facts(authority=_authority(enforcement_level=level, deleted=True)))
    assert (gone.result, gone.reasons[0].code) == ("hard_blocked", "integration_not_found")
    unknown = decide(_facts(authority=None))
    assert (unknown.result, unknown.reasons[0].code) == ("hard_blocked", "state_unknown")


def test_load_before_any_state_was_read_throttles_and_does_not_block() -> None:
    busy = decide(_facts(authority=None, usage=None, contended=True))
    assert (busy.result, busy.reasons[0].code) == ("throttled", "contention")
    assert busy.retry_after_seconds == 1


def test_contention_throttles_and_is_never_free_spend() -> None:
    decision = decide(_facts(usage=None, contended=True))
    assert (decision.result, decision.reasons[0].code) == ("throttled", "contention")
    assert decision.retry_after_seconds == 1
    assert not decision.degraded
    # Nothing is enforced at these levels, so contention must not refuse a call there either.
    observed = _authority(enforcement_level="visibility")
    assert decide(_facts(authority=observed, usage=None, contended=True)).result == "allowed"


def test_disabled_integration_is_blocked_even_when_evidence_is_unreadable() -> None:
    facts = _facts(authority=_authority(status="disabled"), usage=None)
    assert decide(facts).result == "hard_blocked"
    assert decide(msgspec.structs.replace(facts, contended=True)).result == "hard_blocked"


def test_a_call_that_was_let_in_stays_let_in_when_it_asks_again() -> None:
    over = Usage(used=Amounts(1_000, 0, 1_000), admitted=60)
    assert decide(_facts(usage=over)).result == "blocked"
    assert decide(_facts(usage=over, admitted_before=True)).result == "warned"
    disabled = _facts(usage=over, admitted_before=True, authority=_authority(status="disabled"))
    assert decide(disabled).result == "hard_blocked"


def test_an_unpriced_model_runs_where_no_budget_binds_it_or_it_is_allowed_to() -> None:
    assert decide(_facts(priced=False)).reasons[0].code == "model_unpriced"
    assert decide(_facts(priced=False, authority=_authority(budget_limit_cents=0))).admits
    assert decide(_facts(priced=False, authority=_authority(allow_unpriced=True))).admits
    no_tokens = decide(_facts(tokens_known=False))
    assert (no_tokens.step, no_tokens.reasons[0].code) == (5, "model_unpriced")


def test_messages_say_what_happened_and_what_to_do_with_numbers_and_dates() -> None:
    usage = Usage(used=Amounts(900, 0, 1_000), held=Amounts(60), leased=Amounts(10), admitted=60)
    decision = decide(_facts(usage=usage))
    budget, tokens, rate = decision.reasons
    assert budget.message == (
        "The monthly budget of $10.00 has no room for this call: $9.00 used, $0.70 held by running "
        "calls, and this call may cost $0.50."
    )
    assert budget.action == (
        "Set max_tokens, or ask for less; else increase limit or wait until 1 December"
    )
    assert tokens.message.startswith("The monthly limit of 1,000 tokens has no room: 1,000 used,")
    assert tokens.action == "Increase limit or wait until 1 December"
    assert (budget.limit_value, budget.current_value, budget.held_value) == (1_000, 900, 70)
    assert rate.action == "Wait 60 s"
    assert [reason.limit_type for reason in decision.reasons] == ["budget", "tokens", "rate"]
    # Blocked: until the next month, in seconds.
    assert decision.retry_after_seconds == int((month_end(NOW) - NOW).total_seconds()) + 1


def test_december_ends_in_january() -> None:
    assert month_end(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
