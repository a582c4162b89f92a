"""The state of integrations as this process last read it, for use in an outage (ruling F6)."""

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from enforcement.cus_rules.precedence import Authority

_MAX_KNOWN = 10_000
_FIELDS = Authority.__struct_fields__


class Known(NamedTuple):
    """An integration's row: the fields that decisions use, and the whole row."""

    authority: Authority
    row: Mapping[str, Any]


_known: dict[uuid.UUID, Known] = {}


def remember_state(integration_id: uuid.UUID, row: Mapping[str, Any]) -> Known:
    """Keep an integration's row that was just read, and return it."""
    known = Known(Authority(**{name: row[name] for name in _FIELDS}), row)
    if len(_known) >= _MAX_KNOWN:
        _known.clear()
    _known[integration_id] = known
    return known


def known_state(integration_id: uuid.UUID) -> Known | None:
    """The integration's row that this process read last, or None."""
    return _known.get(integration_id)


def forget_states() -> None:
    """Forget all rows, as in a process that has just started."""
    _known.clear()
