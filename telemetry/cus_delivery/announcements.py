"""Read the announcements of a process in a batch. Invalid announcements never refuse a record.

Each member of an announcement counts if it is valid, and is ignored otherwise.
"""

import re
from typing import Any, TypeGuard

from aos_sdk.cus_wire import DROP_REASONS
from telemetry.cus_delivery.sequences import MAX_SEQUENCE, Announcement

ANNOUNCED = ("process_id", "last_sequence", "dropped")
_OTHER = "other"
_MAX_NAME = 100
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def announcement_of(members: dict[str, Any]) -> Announcement | None:
    """The announcement in a batch's members; None if they name no process."""
    process_id = process_name(members.get("process_id"))
    if process_id is None:
        return None
    last = members.get("last_sequence")
    return Announcement(process_id, last if is_count(last) else 0, _dropped(members.get("dropped")))


def process_name(value: Any) -> str | None:
    """A process id that can be stored, or None."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or _UNSTORABLE.search(value):
        return None
    return value


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number that a process may have counted to."""
    return type(value) is int and 0 <= value < MAX_SEQUENCE


def _dropped(value: Any) -> dict[str, int]:
    """Counts by reason. Unknown reasons, which a newer SDK may send, are counted together."""
    found: dict[str, int] = {}
    if not isinstance(value, dict):
        return found
    for reason, number in value.items():
        if is_count(number):
            name = reason if reason in DROP_REASONS else _OTHER
            found[name] = min(found.get(name, 0) + number, MAX_SEQUENCE - 1)
    return found
