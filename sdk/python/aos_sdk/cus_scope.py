"""The current call and identity (session, agent, end user, tags) of a block of code, by thread,
task or generator.

Context variables hold both, which is right in threads and in asyncio: a task inherits the values of
the moment when it was made. A thread of a pool inherits nothing.
"""

import os
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, Final, NamedTuple, Self

from aos_sdk.cus_tags import CusTags, merged_tags, tags_of


class CusIdentity(NamedTuple):
    """Whose a call is, by its record; the block that said so, and the outer identity."""

    session_id: str | None = None
    agent_id: str | None = None
    end_user: str | None = None
    tags: tuple[str, ...] | None = None
    block: "cus_context | None" = None
    outer: "CusIdentity | None" = None


_NOBODY: Final = CusIdentity()

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
    """Says whose the calls in a block are: `with cus_context(agent_id="a", tags={"team": "x"}):`.

    `end_user` names the person or customer for whom the program calls. `tags` are keys and values,
    or texts `key=value`: up to 5 a call, of up to 64 characters. A name that is not given stays as
    in the surrounding block or the configuration. Tags are added to the surrounding tags, and a key
    overrides the same key there. What cannot be sent is cut or left out, with one line in the log.

    Many threads and tasks may enter one instance at once, and another thread may leave it than
    entered it.
    """

    __slots__ = ("_agent_id", "_end_user", "_session_id", "_tags")

    def __init__(
        self,
        *,
        session_id: str | None = None,
        agent_id: str | None = None,
        end_user: str | None = None,
        tags: CusTags | None = None,
    ) -> None:
        self._session_id = session_id
        self._agent_id = agent_id
        self._end_user = end_user
        self._tags = tags_of(tags)

    def __enter__(self) -> Self:
        outer = _identity.get()
        _identity.set(self._within(outer or _NOBODY)._replace(block=self, outer=outer))
        return self

    def _within(self, outer: CusIdentity) -> CusIdentity:
        return CusIdentity(
            outer.session_id if self._session_id is None else self._session_id,
            outer.agent_id if self._agent_id is None else self._agent_id,
            outer.end_user if self._end_user is None else self._end_user,
            merged_tags(outer.tags, self._tags),
        )

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
