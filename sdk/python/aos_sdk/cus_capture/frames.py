"""Frames of ours that Python's warnings do not count."""

from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

# What `warnings.warn(stacklevel=…)` looks for in a frame's file name, to pass over the frames of the
# import system between a warning and who is to be warned.
_PASSED_OVER = " (importlib._bootstrap)"


def passed_over_by_warnings(function: F) -> F:
    """The function, in whose frames no warning ends up.

    A provider warns the program's line of a deprecated model by counting frames. Ours between the
    two would get the warning, and Python would not show it: it shows those of the program alone.
    """
    plain = cast(FunctionType, function)
    code = plain.__code__
    plain.__code__ = code.replace(co_filename=code.co_filename + _PASSED_OVER)
    return function
