"""The RSGI application: `granian --interface rsgi aos_project.cus_web.application:application`."""

import asyncio
import logging
import resource
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.conf import settings

from aos_project.cus_web.answers import BROKEN, Answer, Refusal, Refused, body_too_large
from aos_project.cus_web.bodies import Bodies
from aos_project.cus_web.kinds import Kind, Turn, turn_of
from aos_project.cus_web.known_keys import KnownKeys
from aos_project.cus_web.known_secrets import KnownSecrets
from aos_project.cus_web.lanes import Job, Lane
from aos_project.cus_web.scopes import Answering, Request, Scope, Transport, environ_of
from aos_project.cus_web.sdk_handler import SdkHandler
from aos_project.wsgi import application as _wsgi
from enforcement.cus_checks.turned_away import log_turned_away
from integrations.cus_web.sdk_routes import is_short

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

_PROBE_THREADS = 2
_MIB = 1024 * 1024
_TICK_SECONDS = 0.5
# A body of up to so many times the largest accepted size is read before it is refused; a larger
# body is refused unread.
_MOST_TAKEN_IN = 4
# Larger answers, such as exports, are sent in parts.
_LARGEST_WHOLE = _MIB
_PART_SECONDS = 30.0
# granian stops accepting for good when it runs out of files.
_OPEN_FILES = 8_192
# A check takes Python's lock about ten times, and each time waits up to this long for every thread
# that computes (Python's default is 5 ms).
_SWITCH_SECONDS = 0.001
_FOR_STRANGERS = frozenset({Kind.HEALTH, Kind.PROBE, Kind.SIGN_IN, Kind.STRANGER})


class CusWeb:
    """Receives a request in the event loop and answers it on a thread of its kind."""

    def __init__(self, wsgi: "WSGIApplication") -> None:
        self._wsgi = wsgi
        self._sdk = SdkHandler()
        self._largest = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        self._bodies = Bodies(settings.CUS_BODY_SECONDS, settings.CUS_BODIES_MIB * _MIB)
        threads = {
            Kind.HEALTH: 1,
            Kind.PROBE: _PROBE_THREADS,
            Kind.CHECK: settings.CUS_CHECK_THREADS,
            Kind.INGEST: settings.CUS_INGEST_THREADS,
            Kind.SIGN_IN: settings.CUS_SIGN_IN_THREADS,
            Kind.PEOPLE: settings.CUS_PEOPLE_THREADS,
            Kind.STRANGER: settings.CUS_STRANGER_THREADS,
        }
        self._lanes = {
            kind: Lane(kind, number, settings.CUS_LINE_SECONDS, strangers=kind in _FOR_STRANGERS)
            for kind, number in threads.items()
        }
        self._people = KnownSecrets()
        self._keys = KnownKeys()
        self._answered: deque[asyncio.Future[None]] = deque()

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the threads. granian calls this once in each process, before it serves."""
        _allow_open_files()
        sys.setswitchinterval(_SWITCH_SECONDS)
        for lane in self._lanes.values():
            lane.start()
        self._loop = loop
        self._tick()

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        """Clean up. granian calls this once in each process, after it has stopped serving."""
        log_turned_away()

    async def __rsgi__(self, scope: Scope, protocol: Answering) -> None:
        """Answer one request."""
        request = Request(scope)
        try:
            body = await self._body(request, protocol)
            request.arrived = time.monotonic()
            await self._on_a_thread(request, protocol, body)
        except Refused as refused:
            _send(protocol, refused.refusal.answer(request.path))

    async def _body(self, request: Request, protocol: Answering) -> bytes:
        """The body. Raises Refused. Without `Content-Length` it is empty, and views answer 411."""
        length = int(request.named.get("content-length", 0))
        if not length:
            return b""
        if length > _MOST_TAKEN_IN * self._largest:
            raise Refused(body_too_large(self._largest))
        body = await self._bodies.receive(protocol, length)
        if length > self._largest:
            # Read the body first: a client that is still sending would not read the refusal.
            raise Refused(body_too_large(self._largest))
        return body

    async def _on_a_thread(self, request: Request, protocol: Answering, body: bytes) -> None:
        """Return when a thread has answered. Raises Refused."""
        turn = turn_of(request, self._people, self._keys)
        answered = self._loop.create_future()

        def run(refusal: Refusal | None) -> None:
            try:
                if refusal:
                    _send(protocol, refusal.answer(request.path))
                else:
                    self._answer(request, turn, body, protocol)
                    job.owes_rest = not self._accepted(turn)
            finally:
                self._answered.append(answered)

        job = Job(turn.sender, run, turn.origin)
        self._lanes[turn.kind].submit(job)
        self._settle()
        # Wait: granian answers 500 if this coroutine ends before the thread has answered.
        await answered

    def _answer(self, request: Request, turn: Turn, body: bytes, protocol: Answering) -> None:
        """Send Django's answer. Runs on a thread."""
        try:
            environ = environ_of(request, body)
            if is_short(request.method, request.path):
                answer = self._sdk(environ)
                self._learn(turn, environ)
                _send(protocol, answer)
            else:
                self._send_parts(protocol, environ, turn)
        except Exception:
            logger.exception("A request could not be answered")
            # Has no effect if an answer has begun.
            _send(protocol, BROKEN.answer(request.path))

    def _send_parts(self, protocol: Answering, environ: "WSGIEnvironment", turn: Turn) -> None:
        """Send a small answer whole, and a large answer in parts, at the client's speed."""
        begun: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], *_exc_info: Any) -> Any:
            begun[:] = int(status[:3]), headers

        with closing_parts(self._wsgi(environ, start_response)) as parts:
            # Before the answer: a page's files are asked for as soon as it is there.
            self._learn(turn, environ)
            whole = bytearray()
            for part in parts:
                whole += part
                if len(whole) > _LARGEST_WHOLE:
                    self._stream(protocol.response_stream(*begun), chain([bytes(whole)], parts))
                    return
        status, headers = begun
        _send(protocol, Answer(status, headers, bytes(whole)))

    def _learn(self, turn: Turn, environ: "WSGIEnvironment") -> None:
        """Remember what Django has found the request's secrets to be."""
        now = time.monotonic()
        self._people.learn(turn.digests, environ, now)
        if turn.key:
            self._keys.learn(turn.key, turn.origin, environ, now)

    def _accepted(self, turn: Turn) -> bool:
        """Whether Django has found the request to be a person's or a program's."""
        now = time.monotonic()
        if turn.key:
            return self._keys.is_accepted(turn.key, now)
        return self._people.known_of(turn.digests, now) is not None

    def _stream(self, transport: Transport, parts: Iterable[bytes]) -> None:
        async def send(part: bytes) -> None:
            await transport.send_bytes(part)

        for part in parts:
            sending = asyncio.run_coroutine_threadsafe(send(part), self._loop)
            # A client that stops reading must not occupy the thread.
            sending.result(timeout=_PART_SECONDS)

    def _settle(self) -> None:
        """End the tasks of requests that were answered.

        The thread does not end them: waking the loop costs as much as handing a request over.
        """
        while self._answered:
            answered = self._answered.popleft()
            # The task may have been cancelled meanwhile: its client is gone.
            if not answered.done():
                answered.set_result(None)

    def _tick(self) -> None:
        # First, so that an error below can't stop the deadlines for good.
        self._loop.call_later(_TICK_SECONDS, self._tick)
        self._bodies.end_late(time.monotonic())
        self._settle()


@contextmanager
def closing_parts(parts: Iterable[bytes]) -> Iterator[Iterator[bytes]]:
    """Iterate over the parts of a WSGI answer, and close the answer afterwards."""
    try:
        yield iter(parts)
    finally:
        if close := getattr(parts, "close", None):
            close()


def _send(protocol: Answering, answer: Answer) -> None:
    protocol.response_bytes(answer.status, answer.headers, answer.body)


def _allow_open_files() -> None:
    """Raise this process' limit of open files, for its connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


application = CusWeb(_wsgi)
