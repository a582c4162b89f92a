"""What is true for a block of code, in its thread, task or generator: which call runs, for whom.

Context variables carry it: right in threads and in asyncio, where a task inherits what was true when
it was made. A thread of a pool inherits nothing.
"""

from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from aos_sdk.cus_tracker import CusCallTracker


class CusIdentity(NamedTuple):
    """For whom a call is made, as its record says it."""

    session_id: str | None = None
    agent_id: str | None = None


_call: Final[ContextVar["CusCallTracker | None"]] = ContextVar("cus_call", default=None)
_identity: Final[ContextVar["CusIdentity | None"]] = ContextVar("cus_identity", default=None)

# Bound once, as every call asks: the innermost call that this code runs in, if it runs in one; into a
# call, and out of it by the token that the way in gave; and what the innermost `cus_context` names.
current_call: Final = _call.get
enter_call: Final = _call.set
leave_call: Final = _call.reset
current_identity: Final = _identity.get


def in_governed_call() -> bool:
    """Whether this code runs inside a call that the SDK measures."""
    return _call.get() is not None


def leave_call_anywhere(token: Token["CusCallTracker | None"]) -> None:
    """The way out for code that may be ended from elsewhere."""
    try:
        _call.reset(token)
    except ValueError:
        # A coroutine or generator that the collector closes is in nobody's context: nothing to end.
        return


class cus_context:
    """Names the session and the agent of all calls in a block: `with cus_context(agent_id="a"):`.

    What is not named stays as the surrounding block, or the configuration, has it.
    """

    __slots__ = ("_identity", "_tokens")

    def __init__(self, *, session_id: str | None = None, agent_id: str | None = None) -> None:
        self._identity = CusIdentity(session_id, agent_id)
        self._tokens: list[Token[CusIdentity | None]] = []

    def __enter__(self) -> Self:
        outer = _identity.get() or CusIdentity()
        session_id, agent_id = self._identity
        inner = CusIdentity(
            outer.session_id if session_id is None else session_id,
            outer.agent_id if agent_id is None else agent_id,
        )
        self._tokens.append(_identity.set(inner))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _identity.reset(self._tokens.pop())
