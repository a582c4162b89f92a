"""Protect the host program from our errors (the guard), and messages from secrets."""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from aos_sdk.cus_errors import CusLimitExceeded
from aos_sdk.cus_wire import MAX_ERROR_MESSAGE_LENGTH, mask_secrets


class never_raise:
    """Swallow and count the exceptions of our own code in the block.

    Only `CusLimitExceeded` and exceptions that are no `Exception` (Ctrl-C, cancellation) pass. The
    guard has no state, so one instance can guard many blocks, nested and in threads. `tell`, if
    given, gets the swallowed exception.
    """

    __slots__ = ("_count", "_tell")

    def __init__(
        self, count: Callable[[], object], *, tell: Callable[[Any], object] | None = None
    ) -> None:
        self._count = count
        self._tell = tell

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or self._lets_pass(error):
            return False
        self._note(error)
        return True

    def _lets_pass(self, error: BaseException) -> bool:
        return not isinstance(error, Exception) or isinstance(error, CusLimitExceeded)

    def swallow(self, error: BaseException) -> None:
        """Do the work of the block's end, for `except Exception as error: guard.swallow(error)`,
        which costs nothing without an error; a `with` costs a tenth of a microsecond.
        """
        if isinstance(error, CusLimitExceeded):
            raise error
        self._note(error)

    def _note(self, error: BaseException) -> None:
        # Counted, not logged: our log may be captured by the caller.
        self._count()
        if self._tell is not None:
            self._tell(error)


class never_die(never_raise):
    """Swallow and count every exception in the block. Only for a thread that is the SDK's own.

    Code of the program may raise anything there: test tools block the network with exceptions that
    are no `Exception`, and an `on_error` may call `sys.exit`. Neither may end the thread.
    """

    __slots__ = ()

    def _lets_pass(self, error: BaseException) -> bool:
        return False


def masked_message(message: str) -> str:
    """An error's text, fit for the wire: masked, valid UTF-8, at most 1,000 characters (E9)."""
    # Cut twice: masking a megabyte is slow, and a mask may lengthen the text. The first cut leaves
    # a margin, so that masking sees a key at the limit whole.
    masked = mask_secrets(message[: 4 * MAX_ERROR_MESSAGE_LENGTH])
    return plain_text(masked, MAX_ERROR_MESSAGE_LENGTH)


def plain_text(text: str, limit: int) -> str:
    """A text cut to its limit, without lone surrogates, which UTF-8 cannot carry."""
    return text[:limit].encode("utf-8", "replace").decode("utf-8")
