"""One kept-alive connection to the server, for one thread at a time."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from queue import LifoQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_guard import never_die
from aos_sdk.cus_imports import forks_wait
from aos_sdk.cus_version import __version__
from aos_sdk.cus_wire import INTEGRATION_KEY_HEADER, LLM_USAGE_BATCH_PATH

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

_MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
NO_ANSWER: Final = 0
# A proxy may answer so in the server's place.
_FIRST_SERVER_ERROR: Final = 500

# Connections of a forked parent. They are kept and never touched: closing one could wait for ever
# for a lock that a thread of the parent held.
_abandoned: list[object] = []


@dataclass(frozen=True, slots=True)
class CusAnswer:
    """The server's answer. `status` 0: there was no answer, and `reason` has the cause."""

    status: int
    body: bytes = b""
    retry_after_seconds: float | None = None
    reason: str = ""
    # The server's time, by its `Date` header.
    date: str = ""
    etag: str | None = None

    def json(self) -> Any:
        """The body as JSON, or None if the body is not JSON that can be read."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class CusReceipt(NamedTuple):
    """The outcome of a batch, by a 2xx answer."""

    accepted: int
    duplicates: int
    conflicts: int
    rejected: int
    results: list[Any]

    @property
    def total(self) -> int:
        return self.accepted + self.duplicates + self.conflicts + self.rejected

    @classmethod
    def read(cls, answer: CusAnswer) -> "CusReceipt | None":
        """The answer's receipt; None if it has none: a proxy's 200 must not count as storage."""
        body: Any = answer.json() if 200 <= answer.status < 300 else None
        if not isinstance(body, dict):
            return None
        counts: list[Any] = [body.get(name) for name in cls._fields[:4]]
        results = body.get("results")
        if not isinstance(results, list) or not all(type(n) is int and n >= 0 for n in counts):
            return None
        return cls(counts[0], counts[1], counts[2], counts[3], results)


def first_error(answer: CusAnswer) -> tuple[str, str, str]:
    """Code, detail and attr of an error answer, also if a proxy has replaced the answer."""
    problem = answer.json()
    errors = problem.get("errors") if isinstance(problem, dict) else None
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        return (f"http_{answer.status}", answer.reason, "")
    code, detail, attr = (str(errors[0].get(name) or "") for name in ("code", "detail", "attr"))
    return code, detail, attr


class CusTransport:
    """Sends requests; every failure becomes an answer with status 0, whatever raises it."""

    def __init__(self, connection: CusConnection, timeout_seconds: float) -> None:
        self._base_url = connection.base_url
        self._key = connection.key
        self._presence = connection.presence
        self.timeout_seconds = timeout_seconds
        # The pool for the server at `_base_path`; None until the first request.
        self._pool: HTTPConnectionPool | None = None

    def post_batch(self, body: bytes) -> CusAnswer:
        """Send one encoded batch, and wait for the answer up to the timeout."""
        return self.post(LLM_USAGE_BATCH_PATH, body)

    def post(self, path: str, body: bytes) -> CusAnswer:
        """Send a JSON body to a path of the server's."""
        return self.request("POST", path, body)

    def request(
        self, method: str, path: str, body: bytes | None = None, *, etag: str | None = None
    ) -> CusAnswer:
        """Send a request, with a JSON body if there is one, and the ETag of what is known."""
        # Only the class: the text may contain more than a log should have. And not the error, whose
        # traceback would hold this frame, and sockets.
        kinds: list[type[BaseException]] = []
        with never_die(count=int, tell=lambda error: kinds.append(type(error))):
            return self._request(method, path, body, etag)
        with never_die(count=int):
            self._drop_after(kinds[0])
        return CusAnswer(NO_ANSWER, reason=kinds[0].__name__)

    def _request(self, method: str, path: str, body: bytes | None, etag: str | None) -> CusAnswer:
        _import_client()
        import urllib3

        headers = {
            INTEGRATION_KEY_HEADER: self._key.header_value,
            "User-Agent": f"aos-sdk-python/{__version__}",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        if etag is not None:
            headers["If-None-Match"] = etag
        pool = self._pool or self._open()
        self._deadline.begin(self.timeout_seconds)
        response = pool.urlopen(
            method,
            self._base_path + path,
            body=body,
            headers=headers,
            # The sender retries, and a redirect could send the key to another server.
            retries=False,
            redirect=False,
            timeout=urllib3.Timeout(total=self.timeout_seconds),
            preload_content=False,
        )
        with _closed_by_errors(response):
            answer = _read_bounded(response)
        if response.status < _FIRST_SERVER_ERROR:
            self._presence.note()
        return CusAnswer(
            response.status,
            answer,
            _retry_after(response.headers.get("Retry-After"), response.headers.get("Date")),
            f"HTTP {response.status}",
            response.headers.get("Date", ""),
            response.headers.get("ETag"),
        )

    def _drop_after(self, kind: type[BaseException]) -> None:
        """Begin with a new pool after an error that is none of a network's: its state is unknown.

        An outage keeps the pool, because reading the authorities for a new one takes long.
        """
        if not issubclass(kind, OSError | ValueError) and not _is_of_client(kind):
            self.close()

    def _open(self) -> "HTTPConnectionPool":
        from urllib3.util import parse_url

        from aos_sdk.cus_delivery.sockets import CusDeadline, open_pool

        self._deadline: CusDeadline = CusDeadline()
        self._base_path = parse_url(self._base_url).path or ""
        self._pool = open_pool(self._base_url, self._deadline)
        return self._pool

    @property
    def is_connected(self) -> bool:
        """Whether a connection is kept that an earlier request opened."""
        return self._pool is not None and self._pool.num_connections > 0

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def abandon(self) -> None:
        """Release the parent's connection in a forked child."""
        pool, self._pool = self._pool, None
        if pool is not None and pool.pool is not None:
            _abandoned.append((pool, list(pool.pool.queue)))
            # urllib3 empties a pool at exit with a lock that a thread of the parent may have held.
            LifoQueue.__init__(pool.pool)


def _is_of_client(kind: type[BaseException]) -> bool:
    from urllib3.exceptions import HTTPError

    return issubclass(kind, HTTPError)


def _import_client() -> None:
    """Import everything for a request. The first request would import the codec of host names."""
    with forks_wait():
        import encodings.idna  # noqa: F401

        import aos_sdk.cus_delivery.sockets  # noqa: F401


@contextlib.contextmanager
def _closed_by_errors(response: "BaseHTTPResponse") -> Iterator[None]:
    """Close the response's connection if the block raises anything."""
    try:
        yield
    except BaseException:
        response.close()
        raise


def _read_bounded(response: "BaseHTTPResponse") -> bytes:
    """The whole body, or nothing if the body is longer than any answer of our server."""
    body = bytearray()
    for chunk in response.stream():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            response.close()
            return b""
    response.release_conn()
    return bytes(body)


def _retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds to wait by a `Retry-After` header, in either of its forms.

    A moment is compared with the server's own `Date` if given, because our clock may be wrong.
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    moment = _moment(value)
    if moment is None:
        return None
    return max((moment - (_moment(date) or datetime.now(UTC))).total_seconds(), 0.0)


def _moment(text: str | None) -> datetime | None:
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return parsedate_to_datetime(text or "").astimezone(UTC)
    return None
