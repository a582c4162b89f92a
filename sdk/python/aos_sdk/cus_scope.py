"""What is true for a block of code, in its thread, task or generator: which call runs, for whom.

Context variables carry it: right in threads and in asyncio, where a task inherits what was true when
it was made. A thread of a pool inherits nothing.
"""

import os
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, Final, NamedTuple, Self


class CusIdentity(NamedTuple):
    """For whom a call is made, as its record says it; which block says so, and what held around it."""

    session_id: str | None = None
    agent_id: str | None = None
    block: "cus_context | None" = None
    outer: "CusIdentity | None" = None


# A `CusCallTracker` or None; its module imports this one.
_call: Final[ContextVar[Any]] = ContextVar("cus_call", default=None)
_identity: Final[ContextVar["CusIdentity | None"]] = ContextVar("cus_identity", default=None)

# Bound once, as every call asks: the innermost call that this code runs in, if it runs in one; into a
# call, and out of it by the token that the way in gave; and what the innermost `cus_context` names.
current_call: Final = _call.get
enter_call: Final = _call.set
leave_call: Final = _call.reset
current_identity: Final = _identity.get

# A forked child is in none of its parent's calls, whose end only the parent sees.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(_call.set, None))


def in_governed_call() -> bool:
    """Whether this code runs inside a call that the SDK measures."""
    return _call.get() is not None


def leave_call_anywhere(token: Token[Any]) -> None:
    """The way out for code that may be ended from elsewhere."""
    try:
        _call.reset(token)
    except ValueError:
        # A coroutine or generator that the collector closes is in nobody's context: nothing to end.
        return


class cus_context:
    """Names the session and the agent of all calls in a block: `with cus_context(agent_id="a"):`.

    What is not named stays as the surrounding block, or the configuration, has it. One of them can
    be entered by many threads and tasks at once, and left by another than entered it.
    """

    __slots__ = ("_agent_id", "_session_id")

    def __init__(self, *, session_id: str | None = None, agent_id: str | None = None) -> None:
        self._session_id = session_id
        self._agent_id = agent_id

    def __enter__(self) -> Self:
        outer = _identity.get()
        session_id, agent_id = self._session_id, self._agent_id
        if outer is not None:
            session_id = outer.session_id if session_id is None else session_id
            agent_id = outer.agent_id if agent_id is None else agent_id
        _identity.set(CusIdentity(session_id, agent_id, self, outer))
        return self

    def __exit__(self, *_error: object) -> None:
        # By what holds here and not by a token, which is good in the context of its making alone: a
        # generator that the collector closes, or another thread, leaves what it is not in.
        here = _identity.get()
        while here is not None and here.block is not self:
            here = here.outer  # a generator in this block that has not left its own yet
        if here is not None:
            _identity.set(here.outer)
