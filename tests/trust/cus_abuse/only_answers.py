"""A server that only answers: shows the cost of a flood to other programs of the machine."""

import json
from collections.abc import Callable, Iterable
from typing import Any

# What a check's answer looks like, so that the witness reads both servers' answers alike.
_BODY = json.dumps(
    {"result": "allowed", "degraded": False, "reasons": [{"code": "all_checks_passed"}]}
).encode()
_HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(_BODY)))]


class OnlyAnswers:
    """Answers every request at once, whatever it asks, by either interface of the web server."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        """As a WSGI application."""
        start_response("200 OK", _HEADERS)
        return [_BODY]

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """As an RSGI application, granian's own interface."""
        protocol.response_bytes(200, [(name.lower(), value) for name, value in _HEADERS], _BODY)


application = OnlyAnswers()
