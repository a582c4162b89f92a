"""Sessions over a WebSocket (Realtime, Responses, Live): the end of each response is a call.

Every event that a connection receives is looked at: by `recv`, in a loop, by handlers, by
`recv_bytes`, or by `parse_event` where the program has the bytes from elsewhere. Each call is named
by the id of its response, so an event that is read twice counts once.
"""

import json
import os
import weakref
from collections.abc import Callable, Mapping
from time import perf_counter, time_ns
from typing import Any, Final, NamedTuple

from aos_sdk.cus_capture.bypass_transports import count_governed
from aos_sdk.cus_configuration import CusConfiguration
from aos_sdk.cus_counting.answer_fields import get, seconds, text_of
from aos_sdk.cus_delivery.ended_call import NO_USAGE, CusOrigin
from aos_sdk.cus_delivery.exit import before_sending
from aos_sdk.cus_providers.registry import provider_of_host
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusOperation, answer_id, settlement_call_id

_CREATED: Final = "session.created"
_STARTED: Final = "session.started"
_CLOSED: Final = "session.closed"
_SESSIONS: Final = frozenset({_CREATED, _STARTED, "session.updated"})
_BEGUN: Final = "response.created"
# Realtime says `done` of every response; Responses say how it ended.
_DONE: Final = frozenset(
    {"response.done", "response.completed", "response.incomplete", "response.failed"}
)
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"
# What a live session has others do: each wraps an event of theirs.
_DELEGATED: Final = "response.event"
_DECIDED: Final = "decision.event"
_LOOKED_AT: Final = _SESSIONS | _DONE | {_CLOSED, _BEGUN, _TRANSCRIBED, _DELEGATED, _DECIDED}
# Most events are sound: their bytes are not parsed a second time.
_MARKS: Final = tuple(f'"{kind}"'.encode() for kind in _LOOKED_AT)
_TRANSLATION: Final = "translation"
_FAILED: Final = "failed"
# A response that never ends must not keep its start forever, nor an ended one its name.
_MOST_OPEN: Final = 100
_MOST_KNOWN: Final = 1_000


class _Begun(NamedTuple):
    """A response that runs: its model, and when it began by the wall's and the monotonic clock."""

    model: str
    started_at: int
    began: float


class CusSession:
    """What is known of one connection: its session, its models, the responses that run."""

    def __init__(self, connection: Any, configuration: CusConfiguration) -> None:
        self._begun: dict[str, _Begun] = {}
        self.configuration = configuration
        self._host = _host_of(connection)
        # Who only listens to another connection's session does not report it.
        self._is_listener = "Sideband" in type(connection).__name__
        self._session_id: str | None = None
        self._model = ""
        self._transcriber = ""
        self._reported: set[tuple[str, bool]] = set()
        self._process = os.getpid()

    def see(self, event: Any, kind: str) -> None:
        """Take note of an event, and report the call that ends with it, if one does."""
        if kind in _SESSIONS:
            self._learn(get(event, "session"), kind)
        elif kind == _CLOSED:
            self._report_seconds(event)
        elif kind == _BEGUN:
            self._begin(get(event, "response"))
        elif kind == _TRANSCRIBED:
            self._report_transcript(event)
        elif kind == _DELEGATED:
            inner = get(event, "event")
            inner_kind = get(inner, "type")
            if inner_kind == _BEGUN or inner_kind in _DONE:
                self.see(inner, inner_kind)
        elif kind == _DECIDED:
            self._report_decision(event)
        else:
            self._report_response(get(event, "response"))

    def end(self) -> None:
        """The connection is over: what the responses used that still ran, nobody will tell."""
        begun, self._begun = self._begun, {}
        if self._is_listener or self._process != os.getpid():  # the owner or the parent reports
            return
        for response_id, response in begun.items():
            call = self._unknown(response_id, response.model, CusOperation.RESPONSES)
            if call is not None:
                _date(call, response)
                call.set_metadata(abandoned=True)
                self._report(call)

    def __del__(self) -> None:
        # The program dropped the connection without closing it.
        if self._begun:
            with self.configuration.reporter.guard:
                self.end()

    def _learn(self, session: Any, kind: str) -> None:
        self._session_id = text_of(session, "id") or self._session_id
        self._model = text_of(session, "model") or self._model
        heard = get(get(get(session, "audio"), "input"), "transcription")
        heard = heard or get(session, "input_audio_transcription")
        self._transcriber = text_of(heard, "model") or self._transcriber
        is_whole = kind == _STARTED or get(session, "type") == _TRANSLATION
        if is_whole and not self._is_listener and self._session_id:
            self._report_session(self._session_id)

    def _report_session(self, session_id: str) -> None:
        """A session that is billed by its time: of unknown usage, until an event tells it."""
        call = self._unknown(session_id, self._model, CusOperation.AUDIO)
        if call is not None:
            self._report(call)

    def _report_seconds(self, event: Any) -> None:
        session, used = get(event, "session"), get(event, "usage")
        session_id = text_of(session, "id")
        if not session_id or get(used, "seconds") is None:
            return
        model = text_of(session, "model") or self._model
        call = self._call(session_id, model, CusOperation.AUDIO)
        if call is not None:
            duration = seconds(get(used, "seconds"))
            call.set_usage(NO_USAGE, billed_units={"seconds": duration} if duration else None)
            call.stream = True
            self.configuration.reporter.report(call.record())

    def _begin(self, response: Any) -> None:
        response_id = text_of(response, "id")
        if response_id and len(self._begun) < _MOST_OPEN:
            model = text_of(response, "model") or self._model
            self._begun.setdefault(response_id, _Begun(model, time_ns(), perf_counter()))

    def _report_response(self, response: Any) -> None:
        response_id = text_of(response, "id")
        if not response_id:
            return
        model = text_of(response, "model") or self._model
        call = self._call(response_id, model, CusOperation.RESPONSES)
        begun = self._begun.pop(response_id, None)
        if call is None:
            return
        if begun is not None:
            _date(call, begun)
        call.read(response)
        if call.usage is None and get(response, "status") == _FAILED:
            error = get(response, "error") or get(get(response, "status_details"), "error")
            call.set_error(text_of(error, "code") or text_of(error, "type") or _FAILED)
        call.stream = True
        self._report(call)

    def _report_transcript(self, event: Any) -> None:
        """The transcript of what a user said is made by a model of its own."""
        item_id = text_of(event, "item_id")
        if not item_id or get(event, "usage") is None:
            return
        name = f"{item_id}.{get(event, 'content_index')}"
        call = self._call(name, self._transcriber, CusOperation.AUDIO)
        if call is not None:
            call.read(event)
            self._report(call)

    def _report_decision(self, event: Any) -> None:
        """A decision that a live session had made; its event has the one name for it."""
        decision, name = get(get(event, "event"), "decision"), text_of(event, "event_id")
        if decision is None or not name:
            return
        model = text_of(decision, "model") or ""
        call = self._call(name, model, CusOperation.OTHER)
        if call is not None:
            call.read(decision)
            self._report(call)

    def _unknown(self, name: str, model: str, operation: CusOperation) -> CusCallTracker | None:
        """A call of unknown usage, which a report of this name settles."""
        call = self._call(name, model, operation, is_unknown=True)
        if call is not None:
            call.call_id = None
            call.is_late = call.stream = True
        return call

    def _report(self, call: CusCallTracker) -> None:
        """Report a call, and count it as governed: no watch of requests sees a WebSocket's events.

        Who listens leaves the counting to the session's owner, else a call would count twice.
        """
        if not self._is_listener:
            count_governed()
        call.reporter.report(call.record())

    def _call(
        self,
        name: str,
        model: str,
        operation: CusOperation,
        *,
        is_unknown: bool = False,
    ) -> CusCallTracker | None:
        """The call of this name; None if this connection has reported it.

        A call of unknown usage can become known after it was reported.
        """
        key = (name, is_unknown)
        if key in self._reported:
            return None
        if len(self._reported) >= _MOST_KNOWN:
            self._reported.clear()
        self._reported.add(key)
        served_by = provider_of_host(self._host) if self._host else None
        call = CusCallTracker(
            self.configuration.reporter,
            served_by.key if served_by else None,
            model,
            call_id=settlement_call_id(name),
            operation=operation,
        )
        call.add_identity(self.configuration.identity)
        region_of = served_by.region_of_host if served_by else None
        region = region_of(self._host) if region_of and self._host else None
        call.origin = CusOrigin(host=self._host, region=region, dialect="openai")
        call.response_id = answer_id(name)
        call.started_at = time_ns()
        if self._session_id:
            call.set_metadata(realtime_session_id=self._session_id)
        return call


def _date(call: CusCallTracker, response: _Begun) -> None:
    call.started_at = response.started_at
    call.latency_ms = int((perf_counter() - response.began) * 1_000 + 0.5)


# Looked at weakly: a connection that the program drops is gone.
_sessions: "Final[weakref.WeakKeyDictionary[Any, CusSession]]" = weakref.WeakKeyDictionary()


def _see_event(connection: Any, event: Any, configuration: CusConfiguration) -> None:
    """Look at an event that a connection has parsed; most are passed over by their type."""
    kind = get(event, "type")
    if kind not in _LOOKED_AT:
        return
    session = _sessions.get(connection)
    if session is None:
        session = _sessions[connection] = CusSession(connection, configuration)
    session.configuration = configuration
    session.see(event, kind)


def _see_message(connection: Any, message: Any, configuration: CusConfiguration) -> None:
    """Look at the bytes of an event that a connection has received, or at the error of its end."""
    if isinstance(message, bytes):
        if any(mark in message for mark in _MARKS):
            _see_event(connection, json.loads(message), configuration)
    elif "ConnectionClosed" in type(message).__name__:
        _see_end(connection, message, configuration)


def _see_end(connection: Any, _answer: Any, _configuration: CusConfiguration) -> None:
    """Look at the end of a connection."""
    session = _sessions.get(connection)
    if session is not None:
        session.end()


# How each method of a connection is looked on at: it gets what the method returned or raised.
LOOKS: Final[Mapping[str, Callable[[Any, Any, CusConfiguration], None]]] = {
    "close": _see_end,
    "parse_event": _see_event,
    "recv_bytes": _see_message,
}


def _end_all() -> None:
    """Report what runs at the end of the program."""
    for session in list(_sessions.values()):
        with session.configuration.reporter.guard:
            session.end()


before_sending(_end_all)


def _host_of(connection: Any) -> str | None:
    """The host of the handshake; None where the connection does not tell it."""
    request = getattr(getattr(connection, "_connection", None), "request", None)
    headers = getattr(request, "headers", None)
    host = headers.get("Host") if headers is not None else None
    if not host or not isinstance(host, str):
        return None
    return host.lower().rsplit(":", 1)[0] if not host.endswith("]") else host.lower()
