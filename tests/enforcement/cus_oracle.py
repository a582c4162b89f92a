"""What §15 says of a case, written down from its text and not from the code that is tested.

A case is a row of a table in words. The oracle reads the nine checks from the top, as a
person with the page in hand would, and says result, number of the check, and reason.
"""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Case:
    """One row of the truth table."""

    status: str
    credential: str
    budget: str
    tokens: str
    rate: str
    priced: bool
    level: str
    degraded: bool


STATUSES = ("created", "enabled", "disabled", "error")
CREDENTIALS = ("unknown", "valid", "invalid")
# `over`: the limit is reached. `full`: there is room, but not for this call. `near`: 80 % or
# more is taken. `unlimited`: the limit is 0.
FILLINGS = ("unlimited", "free", "near", "full", "over")
RATES = ("unlimited", "free", "over")
LEVELS = ("visibility", "control_plane", "warn", "throttle", "block")


def cases() -> list[Case]:
    """Every combination."""
    every = product(
        STATUSES, CREDENTIALS, FILLINGS, FILLINGS, RATES, (True, False), LEVELS, (True, False)
    )
    return [Case(*values) for values in every]


_SOFTENED = {
    # level: what becomes of a block, a throttle and a warning there (§15.4, F7)
    "visibility": ("allowed", "allowed", "allowed"),
    "control_plane": ("allowed", "allowed", "allowed"),
    "warn": ("warned", "warned", "warned"),
    "throttle": ("throttled", "throttled", "warned"),
    "block": ("blocked", "throttled", "warned"),
}


def _exceeded(filling: str, code: str) -> str:
    """The code of a limit without room; of one with room, but not for this call (ruling F3b)."""
    return code if filling == "over" else "estimate_exceeds_room"


def expected(case: Case) -> tuple[str, int, str, bool]:  # noqa: C901  (the page, line by line)
    """(result, number of the check that decides, its reason, degraded)."""
    if case.status in ("created", "disabled"):
        word = "not_enabled" if case.status == "created" else "disabled"
        return "hard_blocked", 1, f"integration_{word}", False
    if case.status == "error":
        return "hard_blocked", 2, "integration_error", False
    if case.credential == "invalid":
        return "hard_blocked", 3, "credentials_invalid", False
    if case.degraded:
        return "allowed", 4, "evidence_unavailable", True
    block, throttle, warn = _SOFTENED[case.level]
    if case.budget != "unlimited" and not case.priced:
        return block, 4, "model_unpriced", False
    if case.budget in ("full", "over"):
        return block, 4, _exceeded(case.budget, "budget_exceeded"), False
    if case.tokens in ("full", "over"):
        return block, 5, _exceeded(case.tokens, "token_limit_exceeded"), False
    if case.rate == "over":
        return throttle, 6, "rate_limit_exceeded", False
    if case.budget == "near":
        return warn, 7, "budget_warning", False
    if case.tokens == "near":
        return warn, 8, "token_warning", False
    return "allowed", 9, "all_checks_passed", False
