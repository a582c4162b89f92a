"""Live and translation sessions: billed by their time, which the last event tells or nobody does."""

import asyncio
from typing import Any

import openai
import pytest

from aos_sdk import cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_wire import settlement_call_id
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_fake_providers import RESPONSE_USAGE
from tests.sdk.cus_provider_http import openai_http
from tests.sdk.cus_scripted_clients import async_openai_client, openai_client, whole
from tests.sdk.cus_sockets import connections, heard, without_websockets

__all__ = ["without_websockets"]

OWNERS = connections(("live.live", "LiveConnection"), ("live.forks", "ForksConnection"))
LISTENERS = connections(("live.sideband", "SidebandConnection"))
ALL = {**OWNERS, **LISTENERS}
EACH_OWNER = pytest.mark.parametrize("kind", OWNERS.values(), ids=OWNERS)
EACH_LISTENER = pytest.mark.parametrize("kind", LISTENERS.values(), ids=LISTENERS)
EACH = pytest.mark.parametrize("kind", ALL.values(), ids=ALL)
TRANSLATING = connections(("realtime.translations.translations", "TranslationsConnection"))
needs_live = pytest.mark.skipif(
    not hasattr(openai.OpenAI, "live"), reason="this release has no live sessions"
)
SESSION = {"id": "live_1", "model": "gpt-live-1", "status": "active", "expires_at": 2}
STARTED = {"type": "session.started", "event_id": "event_1", "session": SESSION}
CLOSED = {
    "type": "session.closed",
    "event_id": "event_9",
    "reason": "close_requested",
    "session": SESSION,
    "usage": {"seconds": 61.2},
}
ANSWER = {"id": "resp_1", "object": "response", "model": "gpt-4o", "output": []}
DELEGATED = {
    "type": "response.event",
    "event_id": "event_2",
    "event": {
        "type": "response.completed",
        "response": {**ANSWER, "status": "completed", "usage": RESPONSE_USAGE},
    },
}
DECIDED = {
    "type": "decision.event",
    "event_id": "event_3",
    "event": {
        "type": "decision.completed",
        "decision": {
            "model": "gpt-6-luna",
            "answers": [],
            "usage": {"input_tokens": 70, "output_tokens": 7, "total_tokens": 77},
        },
    },
}


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter, without_websockets: None) -> None:
    cus_install_middleware(detect_bypass=False)


@EACH_OWNER
@pytest.mark.parametrize("method", ["recv", "recv_bytes"])
def test_a_session_is_a_call_of_unknown_usage_until_its_end(
    method: str, kind: Any, recorder: CusRecordingReporter
) -> None:
    heard(kind, (STARTED, STARTED, CLOSED, CLOSED), method)

    begun, ended = recorder.rows
    assert (begun["usage_known"], begun["response_id"]) == (False, "live_1")
    assert (begun["model"], begun["provider"], begun["operation"]) == (
        "gpt-live-1",
        "openai",
        "audio",
    )
    assert (ended["call_id"], ended["response_id"]) == (settlement_call_id("live_1"), "live_1")
    assert ended["billed_units"] == {"seconds": 61}
    assert recorder.stats.faults == 0


@EACH_LISTENER
def test_who_listens_to_a_session_tells_its_end_alone(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    heard(kind, (STARTED, CLOSED))

    (row,) = recorder.rows
    assert (row["call_id"], row["billed_units"]) == (settlement_call_id("live_1"), {"seconds": 61})


@EACH
def test_what_a_session_has_others_do_are_calls_of_their_models(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    heard(kind, (DELEGATED, DECIDED, DECIDED))

    answered, decided = recorder.rows
    assert (answered["model"], answered["tokens_in"]) == ("gpt-4o", 1_000)
    assert answered["call_id"] == settlement_call_id("resp_1")
    assert (decided["model"], decided["tokens_in"], decided["tokens_out"]) == ("gpt-6-luna", 70, 7)


@EACH
def test_the_program_receives_the_same_with_us_and_without(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    events = (STARTED, DELEGATED, CLOSED)
    governed = heard(kind, events)
    cus_uninstall_middleware()
    assert governed == heard(kind, events)


@pytest.mark.parametrize("kind", TRANSLATING.values(), ids=TRANSLATING)
def test_a_translation_is_a_call_of_unknown_usage(
    kind: Any, recorder: CusRecordingReporter
) -> None:
    session = {"id": "sess_1", "type": "translation", "model": "gpt-realtime-translate"}
    heard(kind, ({"type": "session.created", "event_id": "event_1", "session": session},))

    (row,) = recorder.rows
    assert (row["usage_known"], row["model"]) == (False, "gpt-realtime-translate")
    assert row["response_id"] == "sess_1"


MADE = {"session": {"id": "live_1"}, "transport": {"type": "webrtc", "sdp": "x"}}


def _make(live: Any, name: str) -> Any:
    session: Any = {"model": "gpt-live-1", "type": "live"}
    transport: Any = {"type": "webrtc", "sdp": "x"}
    if name == "create":
        return live.create(session=session, transport=transport)
    if name == "fork":
        return live.sessions.fork("live_0", session=session, transport=transport)
    return live.sessions.accept("live_1", session=session)


@needs_live
@pytest.mark.parametrize("name", ["create", "fork", "accept"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_session_that_a_request_begins_is_a_call_of_unknown_usage(
    name: str, is_async: bool, recorder: CusRecordingReporter
) -> None:
    if is_async:
        asyncio.run(_make(async_openai_client(whole(openai_http, MADE)).live, name))
    else:
        _make(openai_client(whole(openai_http, MADE)).live, name)

    (row,) = recorder.rows
    assert (row["usage_known"], row["response_id"]) == (False, "live_1")
    assert row["model"] == "gpt-live-1"
    assert "cost_cents" not in row


@needs_live
def test_a_session_that_is_refused_is_an_error(recorder: CusRecordingReporter) -> None:
    refused = whole(openai_http, {"error": {"message": "no"}}, 400)
    with pytest.raises(openai.BadRequestError):
        _make(openai_client(refused).live, "create")

    (row,) = recorder.rows
    assert row["error_code"] == "BadRequestError"
    assert not {"usage_known", "response_id"} & row.keys()
