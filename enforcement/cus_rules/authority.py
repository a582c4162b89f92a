"""The state of integrations as this process last read it, for use in an outage (ruling F6)."""

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from enforcement.cus_rules.facts import Authority
from enforcement.cus_rules.reasons import Stopped

_MAX_KNOWN = 10_000
_FIELDS = Authority.__struct_fields__


class Known(NamedTuple):
    """An integration's row: the fields that decisions use, the whole row, and its stops.

    `stops`: what is stopped, by what calls name (scope and value).
    """

    authority: Authority
    row: Mapping[str, Any]
    stops: Mapping[tuple[str, str], Stopped] = {}


_known: dict[uuid.UUID, Known] = {}


def remember_state(integration_id: uuid.UUID, row: Mapping[str, Any]) -> Known:
    """Keep an integration's row that was just read, and return it."""
    authority = Authority(**{name: row[name] for name in _FIELDS})
    known = Known(authority, row, _stops(_known.get(integration_id), row.get("stops")))
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[integration_id] = known
    return known


def _stops(last: Known | None, text: str | None) -> Mapping[tuple[str, str], Stopped]:
    """The stops of a row, by what calls name; those that were read last need not be read again."""
    if not text:
        return {}
    if last is not None and last.row.get("stops") == text:
        return last.stops
    return {(stop.scope, stop.value): stop for stop in (Stopped(*one) for one in _read(text))}


_read = msgspec.json.Decoder(list[tuple[str, str, str, str]]).decode


def known_state(integration_id: uuid.UUID) -> Known | None:
    """The integration's row that this process read last, or None."""
    return _known.get(integration_id)


def forget_states() -> None:
    """Forget all rows, as in a process that has just started."""
    _known.clear()
