"""A server that only answers: what a flood costs whoever shares the machine with it."""

import json
from collections.abc import Callable, Iterable
from typing import Any

# What a check's answer looks like, so that the witness reads both servers' answers alike.
_BODY = json.dumps(
    {"result": "allowed", "degraded": False, "reasons": [{"code": "all_checks_passed"}]}
).encode()
_HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(_BODY)))]


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer every request at once, whatever it asks."""
    start_response("200 OK", _HEADERS)
    return [_BODY]
