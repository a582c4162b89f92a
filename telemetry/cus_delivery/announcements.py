"""What a batch says of its process beside its records, read so that it can spoil nothing.

Each member counts if it is what it should be and is ignored if not: a record is never lost
because of it.
"""

import re
from typing import Any, TypeGuard

from aos_sdk.cus_wire import DROP_REASONS
from telemetry.cus_delivery.sequences import MAX_SEQUENCE, Announcement

ANNOUNCED = ("process_id", "last_sequence", "dropped")
_OTHER = "other"
_MAX_NAME = 100
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def announcement_of(said: dict[str, Any]) -> Announcement | None:
    """What a batch announces; None if it names no process, whatever else it says."""
    process_id = process_name(said.get("process_id"))
    if process_id is None:
        return None
    last = said.get("last_sequence")
    return Announcement(process_id, last if is_count(last) else 0, _dropped(said.get("dropped")))


def process_name(value: Any) -> str | None:
    """A process id that can be stored, or None."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or _UNSTORABLE.search(value):
        return None
    return value


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number that a process may have counted to."""
    return type(value) is int and 0 <= value < MAX_SEQUENCE


def _dropped(value: Any) -> dict[str, int]:
    """Counts by reason. Reasons that a newer SDK may have are counted together."""
    found: dict[str, int] = {}
    if not isinstance(value, dict):
        return found
    for reason, number in value.items():
        if is_count(number):
            name = reason if reason in DROP_REASONS else _OTHER
            found[name] = min(found.get(name, 0) + number, MAX_SEQUENCE - 1)
    return found
