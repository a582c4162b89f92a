"""What keeps the host program safe from us: the one guard, and the masking of secrets."""

import re
from collections.abc import Callable
from types import TracebackType
from typing import Final

from aos_sdk.cus_errors import CusLimitExceeded
from aos_sdk.cus_wire import MAX_ERROR_MESSAGE_LENGTH

_MASK: Final = "[masked]"
_SECRETS: Final = re.compile(
    r"""
      [^\s"':,]{1,64}:[^\s"':,]{1,64}:aosk_[\w*.-]+        # a whole integration key
    | aosk_[\w*.-]+
    | \bsk-[\w*.-]{4,}                           # OpenAI, Anthropic; half-masked echoes too
    | \b(?:bearer|basic)\s+[\w.~+/=*-]{4,}
    | \b(?:AKIA|ASIA)[0-9A-Z]{12,}
    | \bAIza[\w-]{20,}
    | (?:api|access|secret)[_-]?key["']?\s*[:=]\s*["']?[^\s"',}]{4,}
    """,
    re.IGNORECASE | re.VERBOSE,
)


class never_raise:
    """Swallow and count whatever our own code raises in the block.

    Only `CusLimitExceeded` and what is no `Exception` (Ctrl-C, cancellation) come through.
    It holds no state, so one instance can guard many blocks, nested and in threads.
    """

    __slots__ = ("_count",)

    def __init__(self, count: Callable[[], object]) -> None:
        self._count = count

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            return False
        if isinstance(error, CusLimitExceeded) or not isinstance(error, Exception):
            return False
        # Counted, not logged: our log may be captured by the caller.
        self._count()
        return True


def mask_secrets(text: str) -> str:
    """Blank out whatever looks like a key or a token (ruling E9)."""
    return _SECRETS.sub(_MASK, text)


def masked_message(error: BaseException) -> str:
    """An exception's text, fit for a record: masked, at most 1,000 characters."""
    # Cut twice: masking a megabyte is slow, and a mask may lengthen the text. The first cut
    # leaves a margin, so that a key which straddles the limit is still seen whole.
    text = str(error)[: 4 * MAX_ERROR_MESSAGE_LENGTH]
    return mask_secrets(text)[:MAX_ERROR_MESSAGE_LENGTH]
