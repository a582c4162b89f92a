"""The current call and identity (session, agent, end user, tags) of a block of code, by thread,
task or generator.

Context variables hold both, which is right in threads and in asyncio: a task inherits the values of
the moment when it was made. A thread of a pool inherits nothing.
"""

import os
import uuid
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, Final, NamedTuple, Self, TypedDict

from aos_sdk.cus_enforcing.run_budget import CusRun
from aos_sdk.cus_tags import CusTags, merged_tags, tags_of


class CusIdentity(NamedTuple):
    """Whose a call is, by its record; the block that said so, and the outer identity."""

    session_id: str | None = None
    agent_id: str | None = None
    end_user: str | None = None
    tags: tuple[str, ...] | None = None
    # The budget in code of the session.
    run: CusRun | None = None
    block: "cus_context | None" = None
    outer: "CusIdentity | None" = None


class CusCallIdentity(TypedDict, total=False):
    """A call's own id, and whose it is, as a program says it for one call."""

    call_id: str | None
    session_id: str | None
    agent_id: str | None
    end_user: str | None
    tags: CusTags | None


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


def _run(cents: int | None, tokens: int | None, calls: int | None) -> CusRun | None:
    """The budget in code that a program names, if any; with the session where it names none."""
    given = {"budget_cents": cents, "budget_tokens": tokens, "max_calls": calls}
    if not any(amount is not None for amount in given.values()):
        return None
    for name, amount in given.items():
        if amount is not None and (type(amount) is not int or amount < 1):
            message = f"{name} must be a whole number of 1 or more, or left out, not {amount!r}"
            raise ValueError(message)
    return CusRun(cents, tokens, calls, f"run-{uuid.uuid4().hex}")


class cus_context:
    """Says whose the calls in a block are: `with cus_context(agent_id="a", tags={"team": "x"}):`.

    `end_user` names the person or customer for whom the program calls. `tags` are keys and values,
    or texts `key=value`: up to 5 a call, of up to 64 characters. A name that is not given stays as
    in the surrounding block or the configuration. Tags are added to the surrounding tags, and a key
    overrides the same key there. What cannot be sent is cut or left out, with one line in the log.

    `budget_cents`, `budget_tokens` and `max_calls` are the most that the session may use: calls
    beyond raise CusLimitExceeded, in every process that names the session. Where nothing names a
    session, this instance makes one. A block within this one that names another session is not of
    this budget; of two budgets of one session the smaller counts. Raises ValueError for a budget
    that is no whole number of 1 or more.

    Many threads and tasks may enter one instance at once, and another thread may leave it than
    entered it.
    """

    __slots__ = ("_agent_id", "_end_user", "_run", "_session_id", "_tags")

    def __init__(
        self,
        *,
        session_id: str | None = None,
        agent_id: str | None = None,
        end_user: str | None = None,
        tags: CusTags | None = None,
        budget_cents: int | None = None,
        budget_tokens: int | None = None,
        max_calls: int | None = None,
    ) -> None:
        self._session_id = session_id
        self._agent_id = agent_id
        self._end_user = end_user
        self._tags = tags_of(tags)
        self._run = _run(budget_cents, budget_tokens, max_calls)

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
            self._run_within(outer),
        )

    def _run_within(self, outer: CusIdentity) -> CusRun | None:
        if self._session_id is not None and self._session_id != outer.session_id:
            return self._run
        return self._run if outer.run is None else outer.run.least(self._run)

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
