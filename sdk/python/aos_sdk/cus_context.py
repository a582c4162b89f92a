"""What is true for a block of code, in its thread or task: whether a governed call is running."""

from contextvars import ContextVar

_governed: ContextVar[bool] = ContextVar("aos_sdk_governed", default=False)


def in_governed_call() -> bool:
    """Whether this code runs inside a call that the SDK measures."""
    return _governed.get()
