"""Answers without Django, to requests that are too large, too slow or too many."""

import json
from dataclasses import dataclass
from html import escape

_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{detail}</p></body>
</html>
"""


@dataclass(frozen=True)
class Answer:
    """An answer: the API's error body, or a small page."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Refusal:
    """The refusal of a request. `detail` tells what happened and what to do."""

    status: int
    code: str
    title: str
    detail: str
    retry_after_seconds: int | None = None
    # Close the connection: otherwise the rest of the body would be taken for the next request.
    ends_connection: bool = False

    def answer(self, path: str) -> Answer:
        """JSON for programs, a page for people."""
        if path.startswith("/api/"):
            kind, body = "application/json", self._json()
        else:
            page = _PAGE.format(title=escape(self.title), detail=escape(self.detail))
            kind, body = "text/html; charset=utf-8", page.encode()
        headers = [
            ("content-type", kind),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
        ]
        if self.retry_after_seconds:
            headers.append(("retry-after", str(self.retry_after_seconds)))
        if self.ends_connection:
            headers.append(("connection", "close"))
        return Answer(self.status, headers, body)

    def _json(self) -> bytes:
        kind = "server_error" if self.status >= 500 else "client_error"
        errors = [{"code": self.code, "detail": self.detail, "attr": None}]
        return json.dumps({"type": kind, "errors": errors}).encode()


class Refused(Exception):
    """A request is refused; `refusal` is the answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


BODY_TOO_SLOW = Refusal(
    408,
    "request_timeout",
    "Request timed out",
    "The rest of the request did not arrive in time. Send it again, over a faster connection.",
    ends_connection=True,
)
# The sender is gone and does not read this answer.
BODY_TORN = Refusal(
    400,
    "bad_request",
    "Request torn",
    "The request ended before its body did. Send it again.",
    ends_connection=True,
)
LINE_FULL = Refusal(
    429,
    "too_many_requests",
    "Too many requests",
    "Too many of your requests are waiting already. Wait for their answers, then go on.",
    retry_after_seconds=2,
)
ADDRESS_FULL = Refusal(
    429,
    "too_many_requests",
    "Too many requests",
    "Too many requests from your address are waiting already. Wait for their answers, then go on.",
    retry_after_seconds=2,
)
BUSY = Refusal(
    503,
    "unavailable",
    "Busy",
    "The service is too busy to answer just now. Nothing was stored; try again.",
    retry_after_seconds=2,
)
BROKEN = Refusal(
    500,
    "error",
    "Something went wrong",
    "Something went wrong on our side. Try again; if it stays, tell the operator.",
)


def body_too_large(limit: int) -> Refusal:
    """413: the body has more bytes than any route accepts."""
    detail = f"The body is over {limit} bytes. Send less."
    title = "Too large"
    return Refusal(413, "request_too_large", title, detail, ends_connection=True)
