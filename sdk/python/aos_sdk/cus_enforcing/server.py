"""Requests to the server before a call: short deadlines, and what an answer or its lack means.

Load is never absence (ruling F6a): otherwise a program could get free calls by keeping the server
busy.
"""

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.transport import NO_ANSWER, CusAnswer, CusTransport
from aos_sdk.cus_wire import (
    ENFORCEMENT_CHECK_PATH,
    ENFORCEMENT_CONFIG_PATH,
    ENFORCEMENT_LEASE_PATH,
)

CHECK_SECONDS: Final = 1.0
CONFIGURATION_SECONDS: Final = 5.0
# Silence is absence only if the process has had no answer for so long (ruling F6a).
SILENT_SECONDS: Final = 5.0

_TIMEOUTS: Final = frozenset({"ReadTimeoutError", "TimeoutError", "ConnectTimeoutError"})
_AWAY: Final = frozenset({502, 503, 504})
_REFUSED: Final = frozenset({401, 403})
_MISSING: Final = frozenset({404, 405, 501})
_OK, _UNCHANGED, _TOO_MANY, _SERVER_ERRORS = 200, 304, 429, 500
_MOST_IDLE: Final = 32


class CusReply(Enum):
    """What an answer means."""

    ANSWERED = "the server has answered the question"
    BUSY = "the server is there, and too busy"
    ABSENT = "there is no server"
    REFUSED = "the server refuses the key"
    MISSING = "the server is older than the question"
    INVALID = "the server refuses the question, and says why"
    UNUSABLE = "the answer can't be used"


class CusServerAnswer(NamedTuple):
    """An answer and its meaning. `content` is None if nothing has changed."""

    reply: CusReply
    content: Mapping[str, Any] | None = None
    etag: str | None = None

    @property
    def detail(self) -> str:
        """What an error answer says is wrong."""
        errors = self.content.get("errors") if self.content else None
        first = errors[0] if isinstance(errors, list) and errors else None
        if not isinstance(first, Mapping):
            return "the answer does not say why"
        return ": ".join(str(first[name]) for name in ("attr", "detail") if first.get(name))


class CusEnforcementServer:
    """The server, for any number of threads at once; each request has a connection of its own."""

    def __init__(self, connection: CusConnection) -> None:
        self._connection = connection
        self._idle: list[CusTransport] = []

    def restart_in_child(self) -> None:
        """Begin with new connections: those of a fork's parent are the parent's."""
        for transport in self._idle:
            transport.abandon()
        self._idle = []
        self._connection.presence.forget()

    def check(self, body: Mapping[str, Any]) -> CusServerAnswer:
        """Ask whether a call may run."""
        answer = self._ask("POST", ENFORCEMENT_CHECK_PATH, CHECK_SECONDS, body=body)
        return _with(answer, "result")

    def lease(self, body: Mapping[str, Any], seconds: float) -> CusServerAnswer:
        """Ask for a lease, or return leases."""
        answer = self._ask("POST", ENFORCEMENT_LEASE_PATH, seconds, body=body)
        return _with(answer, "decision", Mapping)

    def configuration(
        self, etag: str | None, seconds: float = CONFIGURATION_SECONDS
    ) -> CusServerAnswer:
        """What the integration's configuration is, if it differs from that of the ETag."""
        answer = self._ask("GET", ENFORCEMENT_CONFIG_PATH, seconds, etag=etag)
        return _with(answer, "status")

    def _ask(
        self,
        method: str,
        path: str,
        seconds: float,
        *,
        body: Mapping[str, Any] | None = None,
        etag: str | None = None,
    ) -> CusServerAnswer:
        transport = self._take(seconds)
        data = json.dumps(body).encode() if body is not None else None
        was_connected = transport.is_connected
        answer = transport.request(method, path, data, etag=etag)
        if was_connected and answer.status == NO_ANSWER and answer.reason not in _TIMEOUTS:
            # A restarted server or a proxy has closed the connection; whether the server is there
            # only a new connection tells.
            transport.close()
            answer = transport.request(method, path, data, etag=etag)
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(transport)
        else:
            transport.close()
        return self._meaning(answer)

    def _take(self, seconds: float) -> CusTransport:
        try:
            transport = self._idle.pop()
        except IndexError:
            transport = CusTransport(self._connection, seconds)
        transport.timeout_seconds = seconds
        return transport

    def _meaning(self, answer: CusAnswer) -> CusServerAnswer:
        presence = self._connection.presence
        if answer.status == NO_ANSWER:
            is_load = answer.reason in _TIMEOUTS and presence.is_within(SILENT_SECONDS)
            return CusServerAnswer(CusReply.BUSY if is_load else CusReply.ABSENT)
        content = answer.json()
        content = content if isinstance(content, Mapping) else None
        is_ours = content is not None and ("errors" in content or answer.status == _OK)
        if answer.status in _AWAY and not is_ours:
            return CusServerAnswer(CusReply.ABSENT)
        presence.note()
        return CusServerAnswer(_reply(answer.status, is_ours=is_ours), content, answer.etag)


def _with(answer: CusServerAnswer, name: str, kind: type = str) -> CusServerAnswer:
    """The answer, if it has this field: a proxy's 200 is no decision."""
    content = answer.content
    is_whole = content is None or isinstance(content.get(name), kind)
    if answer.reply is CusReply.ANSWERED and not is_whole:
        return CusServerAnswer(CusReply.UNUSABLE)
    return answer


def _reply(status: int, *, is_ours: bool) -> CusReply:
    if status == _UNCHANGED or (status == _OK and is_ours):
        return CusReply.ANSWERED
    if status in _REFUSED:
        return CusReply.REFUSED
    if status in _MISSING:
        return CusReply.MISSING
    if status == _TOO_MANY or status >= _SERVER_ERRORS:
        return CusReply.BUSY
    return CusReply.INVALID if is_ours and status != _OK else CusReply.UNUSABLE
