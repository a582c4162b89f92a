"""Requests to the server before a call: short deadlines, and what an answer or its lack means.

Load is never absence (ruling F6a): otherwise a program could get free calls by keeping the server
busy.
"""

import json
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.transport import NO_ANSWER, CusAnswer, CusTransport
from aos_sdk.cus_wire import ENFORCEMENT_CHECK_PATH, ENFORCEMENT_CONFIG_PATH

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
    UNUSABLE = "the answer can't be used"


class CusServerAnswer(NamedTuple):
    """An answer and its meaning. `content` is None if nothing has changed."""

    reply: CusReply
    content: Mapping[str, Any] | None = None
    etag: str | None = None


class CusEnforcementServer:
    """The server, for any number of threads at once; each request has a connection of its own."""

    def __init__(self, connection: CusConnection) -> None:
        self._connection = connection
        self._idle: list[CusTransport] = []
        self._answered_at = 0.0

    def restart_in_child(self) -> None:
        """Begin with new connections: those of a fork's parent are the parent's."""
        for transport in self._idle:
            transport.abandon()
        self._idle, self._answered_at = [], 0.0

    def check(self, body: Mapping[str, Any]) -> CusServerAnswer:
        """Ask whether a call may run."""
        answer = self._ask("POST", ENFORCEMENT_CHECK_PATH, CHECK_SECONDS, body=body)
        return _with(answer, "result")

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
        now = time.monotonic()
        if answer.status == NO_ANSWER:
            was_silent = now - self._answered_at >= SILENT_SECONDS
            is_load = answer.reason in _TIMEOUTS and not was_silent
            return CusServerAnswer(CusReply.BUSY if is_load else CusReply.ABSENT)
        content = answer.json()
        content = content if isinstance(content, Mapping) else None
        is_ours = content is not None and ("errors" in content or answer.status == _OK)
        if answer.status in _AWAY and not is_ours:
            return CusServerAnswer(CusReply.ABSENT)
        self._answered_at = now
        return CusServerAnswer(_reply(answer.status, is_ours=is_ours), content, answer.etag)


def _with(answer: CusServerAnswer, name: str) -> CusServerAnswer:
    """The answer, if it has this text: a proxy's 200 is no decision."""
    content = answer.content
    is_whole = content is None or isinstance(content.get(name), str)
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
    return CusReply.UNUSABLE
