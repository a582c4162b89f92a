"""Calls while the server is away, busy, older, or refuses the key (rulings F6, F6a, F6b)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import openai
import pytest

from aos_sdk import (
    CusBlocked,
    CusHardBlocked,
    CusKeyRefused,
    CusLimitExceeded,
    CusLimitsUnchecked,
    CusThrottled,
    CusUsageRecord,
)
from aos_sdk.cus_enforcing import configuration as cus_known
from tests.sdk.cus_fake_servers import CusFakeGovernor, cus_error, cus_refusal
from tests.sdk.cus_governed_programs import (
    Configure,
    known_by,
    patched,
    records_of,
    wait_until,
)

_ABSENT: list[Any] = [None, (502, "bad gateway"), (503, None), (504, {"message": "timeout"})]
_BUSY: list[Any] = [
    (429, cus_error("throttled")),
    (503, cus_error("overload")),
    (500, cus_error("server_error")),
]


def refused_by(error: type[CusLimitExceeded] | None) -> AbstractContextManager[object]:
    """A block whose call is refused with this error; None where it runs."""
    return nullcontext() if error is None else pytest.raises(error)


@pytest.mark.parametrize("trouble", _ABSENT)
@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        ({"enforce": "auto"}, True),
        ({"enforce": True}, False),
        ({"enforce": "check"}, False),
        ({"enforce": "auto", "on_unavailable": "block"}, False),
    ],
)
def test_where_no_state_was_ever_known_auto_runs_degraded_and_true_blocks(
    settings: dict[str, Any],
    runs: bool,
    trouble: Any,
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    governor.trouble = [trouble]
    reporter = configure(**settings)
    if runs:
        patched(client)
    else:
        with pytest.raises(CusHardBlocked, match="state is not known"):
            patched(client)
    (record,) = records_of(governor, reporter)
    assert record["degraded"] is True
    assert record["decision"]["reasons"][0]["code"] == "state_unknown"
    assert record["policy_result"] == ("allowed" if runs else "blocked")


@pytest.mark.parametrize("trouble", _ABSENT)
@pytest.mark.parametrize(
    ("state", "settings", "code", "error"),
    [
        ({}, {}, "evidence_unavailable", None),
        ({}, {"enforce": True}, "evidence_unavailable", None),
        ({}, {"on_unavailable": "block"}, "evidence_unavailable", CusBlocked),
        ({"status": "disabled"}, {}, "integration_disabled", CusHardBlocked),
        ({"status": "created"}, {}, "integration_not_enabled", CusHardBlocked),
        ({"status": "error"}, {}, "integration_error", CusHardBlocked),
        ({"credential_state": "invalid"}, {}, "credentials_invalid", CusHardBlocked),
    ],
)
def test_the_last_state_decides_while_the_server_is_away(
    state: dict[str, Any],
    settings: dict[str, Any],
    code: str,
    error: type[CusLimitExceeded] | None,
    trouble: Any,
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    governor.configuration |= state
    reporter = configure(**settings)
    known_by(reporter).refresh()
    governor.trouble = [trouble]
    with refused_by(error):
        patched(client)
    (record,) = records_of(governor, reporter)
    assert record["decision"]["reasons"][0]["code"] == code
    assert record.get("degraded", False) is (code == "evidence_unavailable")


@pytest.mark.parametrize("trouble", _BUSY)
def test_load_is_never_absence(
    trouble: Any, configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.trouble = [trouble]
    with pytest.raises(CusThrottled, match="too busy"):
        patched(client)
    (record,) = records_of(governor, reporter)
    assert record["decision"]["reasons"][0]["code"] == "contention"
    assert len({check["call_id"] for check in governor.checks}) == 1


def test_silence_is_load_while_the_server_has_just_answered(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aos_sdk.cus_enforcing.server.CHECK_SECONDS", 0.1)
    configure(contention_seconds=0.0)
    patched(client)
    governor.delay_seconds = 0.4
    with pytest.raises(CusThrottled):
        patched(client)
    monkeypatch.setattr("aos_sdk.cus_enforcing.server.SILENT_SECONDS", 0.0)
    patched(client)


def test_an_absent_server_is_not_asked_again_for_each_call_and_healing_is_found(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cus_known, "FIRST_PAUSE_SECONDS", 0.3)
    governor.trouble = [None]
    reporter = configure()
    for _ in range(20):
        patched(client)
    assert len(governor.checks) <= 2
    governor.trouble = []
    wait_until(lambda: not known_by(reporter).is_away)
    patched(client)
    assert reporter.decider is not None
    assert (reporter.decider.stats.asked, reporter.decider.stats.degraded) == (1, 20)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_refused_key_or_an_older_server_is_told_once_and_calls_run(
    status: int, configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    told: list[Exception] = []
    configure(on_error=told.append)
    governor.trouble = [(status, cus_error("no"))]
    patched(client)
    patched(client)
    wait_until(lambda: told)
    assert len(told) == 1
    assert isinstance(told[0], CusKeyRefused if status in (401, 403) else CusLimitsUnchecked)


def test_silence_is_load_while_the_server_takes_records(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program that reports has met the server, although no check was answered yet."""
    monkeypatch.setattr("aos_sdk.cus_enforcing.server.CHECK_SECONDS", 0.1)
    reporter = configure(contention_seconds=0.0)
    reporter.report(
        CusUsageRecord("reported", model="gpt-4o", provider="openai", tokens_in=1, tokens_out=1)
    )
    assert reporter.flush(5.0) == 0
    governor.delay_seconds = 0.4
    with pytest.raises(CusThrottled):
        patched(client)


def test_a_connection_that_was_closed_meanwhile_is_no_absence(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    patched(client)
    governor.room, governor.breaks = 1, 1
    with pytest.raises(CusBlocked):
        patched(client)
    assert not known_by(reporter).is_away


@pytest.mark.parametrize(
    ("level", "error"), [("block", CusBlocked), ("throttle", CusThrottled), ("warn", None)]
)
@pytest.mark.parametrize("trouble", [(400, cus_error("invalid", "Too long.")), None])
def test_what_could_not_be_checked_is_refused_as_far_as_the_level_refuses(
    trouble: Any,
    level: str,
    error: type[CusLimitExceeded] | None,
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
) -> None:
    governor.configuration["enforcement_level"] = level
    reporter = configure(on_unavailable="block")
    known_by(reporter).refresh()
    governor.trouble = [trouble]
    with refused_by(error):
        patched(client)
    (record,) = records_of(governor, reporter)
    assert record["degraded"] is True
    assert record["decision"]["reasons"][0]["code"] == "evidence_unavailable"


def test_a_refused_check_says_why(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    governor.trouble = [(400, cus_error("invalid", "Too long."))]
    with pytest.raises(CusBlocked, match="limits were not checked: Too long"):
        patched(client)


def test_the_record_says_what_the_server_decided_without_its_evidence(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    reporter = configure()
    governor.verdict = {**cus_refusal(code="evidence_unavailable"), "result": "allowed"}
    governor.verdict["degraded"] = True
    patched(client)
    (record,) = records_of(governor, reporter)
    assert record["degraded"] is True
    assert record["decision"]["decided_by"] == "server"
    assert record["decision"]["reasons"][0]["code"] == "evidence_unavailable"
