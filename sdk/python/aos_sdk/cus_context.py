"""What is true for a block of code, in its thread or task: which governed call runs in it."""

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aos_sdk.cus_tracker import CusCallTracker

current_call: Final[ContextVar["CusCallTracker | None"]] = ContextVar("cus_call", default=None)


def in_governed_call() -> bool:
    """Whether this code runs inside a call that the SDK measures."""
    return current_call.get() is not None


def leave_call(token: "Token[CusCallTracker | None]") -> None:
    """End what `current_call.set` began."""
    try:
        current_call.reset(token)
    except ValueError:
        # A coroutine or generator that the collector closes is in nobody's context: nothing to end.
        return
