"""Parse the bodies of the API for people: strict JSON of a bounded size."""

import json
import re
from typing import IO, Any

from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.parsers import BaseParser

MAX_BODY_BYTES = 256 * 1024
_MAX_DEPTH = 16
# Characters that PostgreSQL's texts can't hold: NUL, and halves of surrogate pairs.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


class BodyTooLarge(APIException):
    """413: the body is over the limit."""

    status_code = 413
    default_code = "request_too_large"
    default_detail = f"The body is over {MAX_BODY_BYTES} bytes. Send less."


class LengthRequired(APIException):
    """411: a chunked body, whose length is unknown."""

    status_code = 411
    default_code = "length_required"
    default_detail = "Send the body with a Content-Length, not in chunks."


class CusJsonParser(BaseParser):
    """Standard JSON only: refuses NaN, repeated keys, and texts that the database can't hold."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        body: bytes = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
        try:
            data = json.loads(
                body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique
            )
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deep" if isinstance(error, RecursionError) else error
            raise ParseError(f"The body is not JSON: {reason}.") from None
        _check(data)
        return data


def _check(data: Any) -> None:
    named = data if isinstance(data, dict) else {}
    problem = _problem([*named] if named else data)
    if problem:
        raise ParseError(f"The body {problem}.")
    for name, value in named.items():
        problem = _problem(value)
        if problem:
            raise ValidationError({name: [f"This value {problem}."]})


def _problem(data: Any) -> str | None:
    """The first problem of the data, or None. Without recursion: senders choose the nesting."""
    level = [data]
    for _ in range(_MAX_DEPTH):
        if any(isinstance(value, str) and _NO_TEXT.search(value) for value in level):
            return "holds a NUL or half a surrogate pair"
        level = [inner for value in level for inner in _inner(value)]
        if not level:
            return None
    return f"is nested deeper than {_MAX_DEPTH} levels"


def _inner(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value if isinstance(value, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "an object names a key twice"
        raise ValueError(msg)
    return found


def _refuse_constant(name: str) -> Any:
    msg = f"{name} is not a number of JSON"
    raise ValueError(msg)
