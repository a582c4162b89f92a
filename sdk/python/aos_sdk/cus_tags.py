"""Tags of calls: texts `key=value` by which a program divides its calls, e.g. `team=search`.

A call has up to 5 tags of up to 64 characters. What does not fit is cut or left out, and the log
says so once: a tag is decoration, and never costs a record or the program anything (ruling E3a).
"""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import count
from typing import Any, Final, TypeAlias

from aos_sdk.cus_guard import never_raise, plain_text
from aos_sdk.cus_wire import MAX_TAG_LENGTH, MAX_TAGS, mask_secrets

logger = logging.getLogger("aos_sdk")

# A mapping of keys to values, texts `key=value`, or one text with commas between its tags.
CusTags: TypeAlias = Mapping[str, Any] | Iterable[str] | str

_PROBLEM: Final = (
    f"a tag is cut or left out: a call has up to {MAX_TAGS} tags, texts key=value "
    f"of up to {MAX_TAG_LENGTH} characters"
)
# Empty once the problem was logged.
_unlogged: Final = [_PROBLEM]


def _log_once(_error: Exception | None = None) -> None:
    if _unlogged:
        logger.warning(_unlogged.pop())


# Counts for itself: no reporter is known here.
_guard: Final = never_raise(count(1).__next__, tell=_log_once)


def clean_tags(tags: Iterable[object]) -> list[str]:
    """The tags as they are sent: the first 5 that are `key=value`, cut to 64 characters, masked.

    A mapping of keys to values is taken for such texts.
    """
    if isinstance(tags, Mapping):
        tags = [f"{key}={value}" for key, value in tags.items()]
    return [tag for tag in map(_cleaned, tags) if _is_tag(tag)][:MAX_TAGS]


def _cleaned(tag: object) -> str:
    return plain_text(mask_secrets(tag if isinstance(tag, str) else str(tag)), MAX_TAG_LENGTH)


def _is_tag(text: str) -> bool:
    # The server would drop a text without a key or without "=".
    return text.find("=") > 0


def tags_of(given: CusTags | None) -> tuple[str, ...] | None:
    """The tags that a program gives, fit for a call; None if there are none. Never raises.

    A value of None leaves its tag out. Of two tags with one key, the later counts.
    """
    if given is None:
        return None
    with _guard:
        texts = _texts(given)
        tags = _by_key(tag for tag in map(_cleaned, texts) if _is_tag(tag))
        if len(tags) > MAX_TAGS or any(map(_is_unfit, texts)):
            _log_once()
        return tuple(tags.values())[:MAX_TAGS] or None
    return None


def _is_unfit(text: str) -> bool:
    return len(text) > MAX_TAG_LENGTH or not _is_tag(text)


def _by_key(tags: Iterable[str]) -> dict[str, str]:
    return {tag.partition("=")[0]: tag for tag in tags}


def _texts(given: CusTags) -> list[str]:
    if isinstance(given, str):
        return [tag for tag in map(str.strip, given.split(",")) if tag]
    if isinstance(given, Mapping):
        return [f"{key}={_plain(value)}" for key, value in given.items() if value is not None]
    return [_plain(tag) for tag in given]


def _plain(value: object) -> str:
    # A text stays as it is: members of enumerations of texts format as something else.
    return str.__str__(value) if isinstance(value, str) else str(value)


def merged_tags(
    outer: tuple[str, ...] | None, inner: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The tags of both, where a key of `inner` overrides the same key of `outer`.

    Of more than 5, the first of `outer` are left out: `inner` says more about the call.
    """
    if outer is None or inner is None:
        return inner if outer is None else outer
    return _merged(outer, inner)


@lru_cache(maxsize=256)  # the calls of a program have few combinations of tags
def _merged(outer: tuple[str, ...], inner: tuple[str, ...]) -> tuple[str, ...]:
    own = _by_key(inner)
    tags = [tag for key, tag in _by_key(outer).items() if key not in own] + [*own.values()]
    if len(tags) > MAX_TAGS:
        _log_once()
    return tuple(tags[-MAX_TAGS:])
