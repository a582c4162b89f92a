"""The current call and identity (session, agent) of a block of code, by thread, task or generator.

Context variables hold both, which is right in threads and in asyncio: a task inherits the values of
the moment when it was made. A thread of a pool inherits nothing.
"""

import os
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, Final, NamedTuple, Self


class CusIdentity(NamedTuple):
    """The session and agent of a call's record; the block that set them, and the outer identity."""

    session_id: str | None = None
    agent_id: str | None = None
    block: "cus_context | None" = None
    outer: "CusIdentity | None" = None


# A `CusCallTracker` or None; its module imports this one.
_call: Final[ContextVar[Any]] = ContextVar("cus_call", default=None)
_identity: Final[ContextVar["CusIdentity | None"]] = ContextVar("cus_identity", default=None)

# Bound methods, made once because every call uses them: the innermost call of this code, if any;
# enter a call; leave it by the token of entering; and the identity of the innermost `cus_context`.
current_call: Final = _call.get
enter_call: Final = _call.set
leave_call: Final = _call.reset
current_identity: Final = _identity.get

# A forked child has no current call: only the parent sees the end of its calls.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=partial(_call.set, None))


def in_governed_call() -> bool:
    """Whether this code runs inside a call that the SDK measures."""
    return _call.get() is not None


def leave_call_anywhere(token: Token[Any]) -> None:
    """Leave a call, for code that another context may end."""
    try:
        _call.reset(token)
    except ValueError:
        # The garbage collector closes a coroutine or generator in another context: nothing to
        # leave.
        return


class cus_context:
    """Names the session and the agent of all calls in a block: `with cus_context(agent_id="a"):`.

    A name that is not given stays as in the surrounding block or the configuration. Many threads
    and tasks may enter one instance at once, and another thread may leave it than entered it.
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
        # Uses the present identity instead of a token, which works only in the context that made
        # it: the garbage collector or another thread may close a generator in another context.
        here = _identity.get()
        while here is not None and here.block is not self:
            here = (
                here.outer
            )  # Skip blocks of generators inside this block that have not ended yet.
        if here is not None:
            _identity.set(here.outer)
