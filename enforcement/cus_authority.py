"""The state of integrations as this process last saw it: what an outage leaves (ruling F6)."""

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from enforcement.cus_precedence import Authority

_MAX_KNOWN = 10_000
_FIELDS = Authority.__struct_fields__


class Known(NamedTuple):
    """An integration's row as it was read: as decisions see it, and whole."""

    authority: Authority
    row: Mapping[str, Any]


_known: dict[uuid.UUID, Known] = {}


def remember_state(integration_id: uuid.UUID, row: Mapping[str, Any]) -> Known:
    """Keep what was just read of an integration, and give it back."""
    known = Known(Authority(**{name: row[name] for name in _FIELDS}), row)
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[integration_id] = known
    return known


def known_state(integration_id: uuid.UUID) -> Known | None:
    """What was last read of an integration in this process."""
    return _known.get(integration_id)


def forget_states() -> None:
    """Know nothing, as a process that has just started."""
    _known.clear()
