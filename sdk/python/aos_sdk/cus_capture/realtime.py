"""Sessions over a WebSocket (Realtime, Responses): the end of each response is a call.

Every event that a connection parses is looked at: by `recv`, in a loop, by handlers, or by
`parse_event` where the program receives bytes. Each call is named by the id of its response, so an
event that is parsed twice counts once.
"""

import weakref
from time import perf_counter, time_ns
from typing import Any, Final

from aos_sdk.cus_configuration import CusConfiguration
from aos_sdk.cus_counting.answer_fields import get, text_of
from aos_sdk.cus_delivery.ended_call import CusOrigin
from aos_sdk.cus_providers.registry import provider_of_host
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusOperation, settlement_call_id

_SESSIONS: Final = frozenset({"session.created", "session.updated"})
_BEGUN: Final = "response.created"
# Realtime says `done` of every response; Responses say how it ended.
_DONE: Final = frozenset(
    {"response.done", "response.completed", "response.incomplete", "response.failed"}
)
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
_LOOKED_AT: Final = _SESSIONS | _DONE | {_BEGUN, _TRANSCRIBED}
_FAILED: Final = "failed"
# A response that never ends must not keep its start forever.
_MOST_OPEN: Final = 100


class CusSession:
    """What is known of one connection: its session, its models, the responses that run."""

    def __init__(self, connection: Any) -> None:
        self._host = _host_of(connection)
        self._session_id: str | None = None
        self._model = ""
        self._transcriber = ""
        # When each response began: by the clock of the wall, and by the one that only runs forward.
        self._begun: dict[str, tuple[int, float]] = {}

    def see(self, event: Any, kind: str, configuration: CusConfiguration) -> None:
        """Take note of an event, and report the call that ends with it, if one does."""
        if kind in _SESSIONS:
            self._learn(get(event, "session"))
        elif kind == _BEGUN:
            self._begin(text_of(get(event, "response"), "id"))
        elif kind == _TRANSCRIBED:
            self._report_transcript(event, configuration)
        else:
            self._report_response(get(event, "response"), configuration)

    def _learn(self, session: Any) -> None:
        self._session_id = text_of(session, "id") or self._session_id
        self._model = text_of(session, "model") or self._model
        heard = get(get(get(session, "audio"), "input"), "transcription")
        heard = heard or get(session, "input_audio_transcription")
        self._transcriber = text_of(heard, "model") or self._transcriber

    def _begin(self, response_id: str | None) -> None:
        if response_id and len(self._begun) < _MOST_OPEN:
            self._begun[response_id] = (time_ns(), perf_counter())

    def _report_response(self, response: Any, configuration: CusConfiguration) -> None:
        response_id = text_of(response, "id")
        if not response_id:
            return
        model = text_of(response, "model") or self._model
        call = self._call(response_id, model, CusOperation.RESPONSES, configuration)
        begun = self._begun.pop(response_id, None)
        if begun is not None:
            call.started_at = begun[0]
            call.latency_ms = int((perf_counter() - begun[1]) * 1_000 + 0.5)
        call.read(response)
        if call.usage is None and get(response, "status") == _FAILED:
            error = get(response, "error") or get(get(response, "status_details"), "error")
            call.set_error(text_of(error, "code") or text_of(error, "type") or _FAILED)
        call.stream = True
        configuration.reporter.report(call.record())

    def _report_transcript(self, event: Any, configuration: CusConfiguration) -> None:
        """The transcript of what a user said is made by a model of its own."""
        item_id = text_of(event, "item_id")
        if not item_id or get(event, "usage") is None:
            return
        name = f"{item_id}.{get(event, 'content_index')}"
        call = self._call(name, self._transcriber, CusOperation.AUDIO, configuration)
        call.read(event)
        configuration.reporter.report(call.record())

    def _call(
        self, name: str, model: str, operation: CusOperation, configuration: CusConfiguration
    ) -> CusCallTracker:
        served_by = provider_of_host(self._host) if self._host else None
        call = CusCallTracker(
            configuration.reporter,
            served_by.key if served_by else None,
            model,
            call_id=settlement_call_id(name),
            operation=operation,
        )
        call.add_identity(configuration.identity)
        region_of = served_by.region_of_host if served_by else None
        region = region_of(self._host) if region_of and self._host else None
        call.origin = CusOrigin(host=self._host, region=region, dialect="openai")
        call.response_id = name
        call.started_at = time_ns()
        if self._session_id:
            call.set_metadata(realtime_session_id=self._session_id)
        return call


# Looked at weakly: a connection that the program drops is gone.
_sessions: "Final[weakref.WeakKeyDictionary[Any, CusSession]]" = weakref.WeakKeyDictionary()


def see_event(connection: Any, event: Any, configuration: CusConfiguration) -> None:
    """Look at an event that a connection has parsed; most are passed over by their type."""
    kind = get(event, "type")
    if kind not in _LOOKED_AT:
        return
    session = _sessions.get(connection)
    if session is None:
        session = _sessions[connection] = CusSession(connection)
    session.see(event, kind, configuration)


def _host_of(connection: Any) -> str | None:
    """The host of the handshake; None where the connection does not tell it."""
    request = getattr(getattr(connection, "_connection", None), "request", None)
    headers = getattr(request, "headers", None)
    host = headers.get("Host") if headers is not None else None
    if not host or not isinstance(host, str):
        return None
    return host.lower().rsplit(":", 1)[0] if not host.endswith("]") else host.lower()
