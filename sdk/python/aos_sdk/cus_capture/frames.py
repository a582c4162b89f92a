"""Hide our frames from Python's warnings."""

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

# `warnings.warn(stacklevel=…)` skips frames with this in their file names, to pass over the frames
# of the import system.
_PASSED_OVER = " (importlib._bootstrap)"


def passed_over_by_warnings(function: F) -> F:
    """The function, with frames that warnings skip.

    A provider's package counts frames to show a warning, such as about a deprecated model, at the
    program's line. With our frames in between, the warning would be at our line, and Python shows
    only warnings of the program's own code.
    """
    plain = cast(FunctionType, function)
    code = plain.__code__
    plain.__code__ = code.replace(co_filename=code.co_filename + _PASSED_OVER)
    return function
