"""Keeps decisions of each step of the ladder, as a release stores them, for all releases after it.

    .venv/bin/python -m tests.enforcement.cus_make_golden NAME

runs the ladder of the code beside it and writes `tests/enforcement/golden/NAME/`: a file for each case, with
the facts and the verdict as the decision log keeps them. `tests.upgrade.cus_make_release` runs it,
too. The folder of a release that is out is never written again.
"""

import json
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from enforcement.cus_decisions.log import entry
from enforcement.cus_rules.facts import Facts
from enforcement.cus_rules.precedence import decide

GOLDEN = Path(__file__).parent / "golden"
_NOBODY = uuid.UUID(int=0)
# What is random about a row of the log, or not the ladder's.
_LEFT_OUT = ("id", "tenant_id", "integration_id")

_AUTHORITY: dict[str, Any] = {
    "status": "enabled",
    "credential_state": "valid",
    "enforcement_level": "block",
    "budget_limit_cents": 1_000,
    "budget_basis": "rounded",
    "token_limit_month": 100_000,
    "rate_limit_rpm": 60,
    "allow_unpriced": False,
    "config_version": 7,
    "deleted": False,
}
_FREE: dict[str, Any] = {
    "used": [300, 250_000_000, 20_000],
    "held": [40, 40_000_000, 3_000],
    "leased": [10, 10_000_000, 1_000],
    "admitted": 12,
}
_FACTS: dict[str, Any] = {
    "call_id": "golden",
    "model": "gpt-4o",
    "evaluated_at": "2026-11-22T14:00:00.250000Z",
    "authority": _AUTHORITY,
    "usage": _FREE,
    "estimate": [50, 50_000_000, 2_000],
}
_SPENT = {"used": [980, 980_000_001, 99_000]}


def _authority(**changes: Any) -> dict[str, Any]:
    return {"authority": _AUTHORITY | changes}


def _usage(**changes: Any) -> dict[str, Any]:
    return {"usage": _FREE | changes}


def _limit(scope: str, value: str, **changes: Any) -> dict[str, Any]:
    """A limit at a scope, of a month and cents, with most of it used."""
    return {
        "id": str(uuid.UUID(int=len(scope))),
        "scope": scope,
        "value": value,
        "unit": "cents",
        "window": "month",
        "binds": "cents",
        "amount": 100,
        "result": "blocked",
        "used": 60,
        "held": 10,
        "leased": 5,
    } | changes


# By what they show; each is what differs from a call that all checks let pass.
_CASES: dict[str, dict[str, Any]] = {
    "1-state-unknown": {"authority": None, "usage": None},
    "1-deleted": _authority(deleted=True),
    "1-not-enabled": _authority(status="created"),
    "1-disabled": _authority(status="disabled"),
    "2-in-error": _authority(status="error"),
    "3-credentials-invalid": _authority(credential_state="invalid"),
    "4-stopped": {
        "stopped": {
            "scope": "agent_id",
            "value": "crawler",
            "reason": "It loops.",
            "by": "ops@example.com",
        }
    },
    "4-contention": {"usage": None, "contended": True},
    "4-evidence-unavailable": {"usage": None},
    "4-call-recorded": {"recorded": True},
    "4-budget-exceeded": _usage(**_SPENT),
    "4-budget-exceeded-exact": _authority(budget_basis="exact") | _usage(**_SPENT),
    "4-budget-exceeded-at-warn": _authority(enforcement_level="warn") | _usage(**_SPENT),
    "4-budget-exceeded-at-throttle": _authority(enforcement_level="throttle") | _usage(**_SPENT),
    "4-budget-exceeded-at-visibility": _authority(enforcement_level="visibility")
    | _usage(**_SPENT),
    "4-model-unpriced": {"model": "house-model", "priced": False},
    "4-every-limit-exceeded": _usage(used=[2_000, 2_000_000_000, 200_000], admitted=61),
    "4-scopes-exceeded-narrowest-first": {
        "limits": [_limit("session_id", "s-1", window="life"), _limit("tenant", "")]
    },
    "4-scope-exceeded-exact": {
        "limits": [_limit("tag", "red", tag="team", binds="microcents", used=99, amount=100)]
    },
    "4-tenants-limit-allotted-to-others": {
        "limits": [_limit("tenant", "", used=20, held=10, elsewhere=30, amount=100)]
    },
    "4-temporary-limit-for-the-budget": _usage(**_SPENT)
    | {"limits": [_limit("integration", "", temporary=True, amount=2_000)]},
    "5-tokens-exceeded": _usage(used=[300, 250_000_000, 99_000]),
    "5-tokens-exceeded-at-years-end": _usage(used=[0, 0, 100_000])
    | {"evaluated_at": "2026-12-31T23:59:59.500000Z"},
    "5-tokens-unknown": {"model": None, "tokens_known": False},
    "6-rate-exceeded": _usage(admitted=60),
    "6-rate-exceeded-and-budget-near": _usage(used=[850, 850_000_000, 20_000], admitted=60),
    "6-tokens-a-minute-exceeded": _authority(rate_limit_tpm=5_000) | _usage(admitted_tokens=4_000),
    "6-tokens-a-minute-exceeded-by-one-call": _authority(rate_limit_tpm=1_000)
    | _usage(admitted_tokens=0),
    "6-tokens-a-minute-unknown": _authority(rate_limit_tpm=1_000, token_limit_month=0)
    | {"model": None, "tokens_known": False},
    "6-calls-a-day-exceeded": _authority(rate_limit_rpd=500) | _usage(admitted_today=500),
    "6-calls-a-day-exceeded-at-warn": _authority(rate_limit_rpd=500, enforcement_level="warn")
    | _usage(admitted_today=500),
    "6-holds-at-their-bound": _authority(max_live_holds=10)
    | _usage(running=10)
    | {"wants_hold": True},
    "6-budgets-in-code-at-their-bound": {"most_runs": 100_000},
    "6-scope-throttled": {
        "limits": [
            _limit(
                "agent_id",
                "bot",
                unit="calls",
                binds="calls",
                window="week",
                result="throttled",
                used=100,
            )
        ]
    },
    "7-scope-near": {"limits": [_limit("end_user", "ann", amount=200, warning_percent=30)]},
    "7-budget-near": _usage(used=[800, 800_000_000, 20_000]),
    "7-budget-near-exact": _authority(budget_basis="exact")
    | _usage(used=[100, 750_000_001, 20_000]),
    "8-tokens-near": _usage(used=[300, 250_000_000, 80_000]),
    "8-tokens-near-for-a-call-that-was-let-in": _usage(used=[300, 250_000_000, 100_000])
    | {"admitted_before": True},
    "9-passed": {},
}


def write(folder: Path) -> None:
    """Write a release's decisions."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, changes in _CASES.items():
        asked = _FACTS | changes
        facts = msgspec.convert(asked, Facts)
        if not _is_within(asked, msgspec.to_builtins(facts)):
            # The release does not know such a fact, so it has no such decision.
            continue
        kept = msgspec.to_builtins(entry(_NOBODY, _NOBODY, facts, decide(facts)))
        row = {column: value for column, value in kept.items() if column not in _LEFT_OUT}
        text = json.dumps(row, indent=1, sort_keys=True)
        folder.joinpath(f"{name}.json").write_text(text + "\n")


def _is_within(asked: Mapping[str, Any], kept: Mapping[str, Any]) -> bool:
    """Whether a release's facts have all that a case names."""
    return all(
        name in kept and (not isinstance(value, Mapping) or _is_within(value, kept[name]))
        for name, value in asked.items()
    )


if __name__ == "__main__":
    write(GOLDEN / sys.argv[1])
