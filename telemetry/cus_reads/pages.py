"""Pages by key: a page neither skips nor repeats rows while new ones arrive, and none is counted."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from rest_framework.exceptions import NotFound

_Row = TypeVar("_Row")
# The key of the row after which a page begins, as a list of JSON values.
Place = tuple[Any, ...]


@dataclass(frozen=True)
class Page(Generic[_Row]):
    """Some rows, and the place after which the next page begins; None if there is none."""

    rows: list[_Row]
    next: Place | None


def page_of(found: Sequence[_Row], limit: int, place_of: Callable[[_Row], Place]) -> Page[_Row]:
    """A page of up to `limit` rows, of which one more was asked for."""
    rows = list(found[:limit])
    return Page(rows, place_of(rows[-1]) if len(found) > limit else None)


def cursor_of(place: Place) -> str:
    """A place as a text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def place_of(cursor: str, kind: Any) -> Any:
    """The place that a cursor names; `kind` is the type of its values. Raises NotFound."""
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=kind)
    except (ValueError, msgspec.MsgspecError, RecursionError, binascii.Error):
        place = None
    # No stored text has a NUL, and PostgreSQL takes none.
    if place is None or any(isinstance(value, str) and "\0" in value for value in place):
        raise NotFound("This cursor names no page. Start without a cursor, and follow `next`.")
    return place
