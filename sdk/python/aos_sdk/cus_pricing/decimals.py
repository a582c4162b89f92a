"""Decimals as Python sets them, whatever a program has set."""

import functools
from collections.abc import Callable
from contextvars import Context
from decimal import (
    ROUND_HALF_EVEN,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    setcontext,
)
from decimal import Context as DecimalContext
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# As Python sets them, unless a program has changed its defaults, which holds for any new context.
_DECIMALS: Final = DecimalContext(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    Emin=-999_999,
    Emax=999_999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[InvalidOperation, DivisionByZero, Overflow],
)


def with_own_decimals(function: Callable[P, T]) -> Callable[P, T]:
    """The function, run where decimals are as Python sets them.

    Their settings are the context's in which they are made: a program's own (a precision of three
    would round prices) are not to be met here, nor are any to be left behind in it.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        context = Context()
        context.run(setcontext, _DECIMALS.copy())
        return context.run(function, *args, **kwargs)

    return run
