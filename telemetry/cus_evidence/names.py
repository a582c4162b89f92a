"""What a row keeps of the names that a sender writes freely: who checks a call must do the same."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from aos_sdk import cus_wire as wire
from aos_sdk.cus_fields import FIELDS, CusMask
from aos_sdk.cus_wire import mask_name, mask_secrets

# What PostgreSQL keeps in no text.
UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")
LENGTHS: Final = {field.name: field.max_length for field in FIELDS if field.max_length}
_MASKS: Final = {CusMask.NAME: mask_name, CusMask.SECRETS: mask_secrets}
# The fields in which what looks like a key is blanked out (ruling E9), each with its mask.
FREE_TEXTS: Final = {field.name: _MASKS[field.mask] for field in FIELDS if field.mask}


@lru_cache(maxsize=4_096)
def name_as_stored(field: str, text: str) -> str:
    """The name of an agent, a session or an end user as a row keeps it, `""` if nothing remains."""
    length = LENGTHS[field]
    return FREE_TEXTS[field](UNSTORABLE.sub("", text)[:length])[:length]


def tag_as_stored(tag: str) -> str:
    """A tag as a row keeps it."""
    return mask_secrets(UNSTORABLE.sub("", tag))[: wire.MAX_TAG_LENGTH]


@lru_cache(maxsize=4_096)
def tags_as_stored(tags: tuple[str, ...]) -> Sequence[str]:
    """The tags of a call as its row keeps them."""
    return tuple(map(tag_as_stored, tags))
