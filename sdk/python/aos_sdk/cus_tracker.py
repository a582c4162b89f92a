"""One call, from its start to its record: timed, read, priced, reported, once."""

import copy
import os
from collections.abc import Callable
from contextvars import Token
from time import perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from aos_sdk.cus_delivery.ended_call import CusCallReporter
from aos_sdk.cus_measured_call import CusMeasuredCall
from aos_sdk.cus_record import generate_call_id
from aos_sdk.cus_scope import (
    CusCallIdentity,
    current_call,
    current_identity,
    enter_call,
    leave_call_anywhere,
)
from aos_sdk.cus_tags import CusTags, tags_of
from aos_sdk.cus_wire import CusOperation, CusPolicyResult

if TYPE_CHECKING:
    from aos_sdk.cus_enforcing.asked import CusAsked
    from aos_sdk.cus_enforcing.gate import CusGate
    from aos_sdk.cus_enforcing.lease import CusLease
    from aos_sdk.cus_errors import CusLimitExceeded

NOTHING: Final[dict[str, Any]] = {}
# Of a chain of exceptions, which a program may close to a ring.
_MOST_LINKS: Final = 20

# The start of this process: after a fork, the parent reports the calls that ran before.
_since = 0.0


def _begin_in_child() -> None:
    global _since
    _since = perf_counter()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


class Health(Protocol):
    """Gets the outcome of calls."""

    def note(self, *, failed: bool) -> None: ...


class CusTrackerOptions(CusCallIdentity, total=False):
    """What a tracker is told of its call beside the provider and the model."""

    operation: CusOperation | None


class CusCallTracker(CusMeasuredCall):
    """Measures the call in its `with` (or `async with`) block and reports it when the block ends.

    An exception of the block passes through untouched; the call is then reported with the
    exception's class as `error_code` and its masked text. No method raises anything of its own.

    The first governed provider call inside the block is part of this call, and gives it its tokens,
    unless they are set. Each further provider call has a record of its own.
    """

    # Defaults that most calls never set: as class attributes they take no memory for each call.
    is_leaf = False  # whether governed calls within are parts of this call and need not be measured
    is_reported = True
    began: float  # monotonic, in seconds; a float, which Python makes without extra work
    health: "Health | None" = None  # counts the failures of an adapter
    hides_usage = False  # whether only we asked for the stream's last chunk
    stands_for_request = False  # whether it is the record of a request that no call within it has
    departed = False  # whether a request within it has left the program
    refusal: BaseException | None = None  # the error of a call within it that never left
    arguments: dict[str, Any] = NOTHING
    gate: "CusGate | None" = None  # decides whether it may begin
    is_asynchronous = False  # whether it begins in an event loop, which must not wait
    admitted: "CusAsked | CusLease | None" = None  # what it was admitted with
    is_named = False  # whether the program has chosen its call id
    is_clamped = False  # whether the gate has lowered what `arguments` ask for
    can_clamp = False  # whether what `arguments` says is what will be sent
    remake: "Callable[[], Any] | None" = None  # makes the call's coroutine again, of its arguments
    # For a call within a call: the other call, and a token that lets one of both end unreported.
    outer: "CusCallTracker | None" = None
    inner: "CusCallTracker | None" = None
    turn_with_outer: list[None] | None = None
    turn_with_inner: list[None] | None = None
    _token: Token[Any] | None = None

    def __init__(  # noqa: PLR0913 - the public surface, each argument by its name
        self,
        reporter: CusCallReporter,
        provider: str | None,
        model: str,
        *,
        call_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        end_user: str | None = None,
        tags: CusTags | None = None,
        operation: CusOperation | None = None,
    ) -> None:
        self.reporter = reporter
        self.provider = provider
        self.model = model
        self.operation = operation
        self.call_id = call_id or generate_call_id()
        if call_id:
            self.is_named = True
        self.session_id = session_id
        self.agent_id = agent_id
        if end_user is not None:
            self.end_user = end_user
        if tags is not None:
            self.tags = tags_of(tags)
        identity = current_identity()
        if identity is not None:
            self.add_identity(identity)

    def start(self) -> None:
        """Start the call. The first call within a surrounding call becomes a part of that call."""
        outer: CusCallTracker | None = current_call()
        # What a task or thread inherited may have ended long ago, and reports nothing any more.
        if outer is not None and outer.can_take:
            outer.turn_with_inner = self.turn_with_outer = [None]
            self.outer = outer
            outer.inner = self
        self.started_at = time_ns()
        self.began = perf_counter()

    @property
    def can_take(self) -> bool:
        """Whether the next call within this one is a part of it."""
        return self.inner is None and self.latency_ms is None and not self.stands_for_request

    @property
    def is_nothing_else(self) -> bool:
        """Whether, of a call within which something was looked up, nothing else is known."""
        return self.inner is None and not self.usage_known

    @property
    def has_inner(self) -> bool:
        """Whether a governed call ran within this call."""
        return self.inner is not None

    def again(self) -> Self:
        """A new call with the same identity: a stream helper's block can be entered again."""
        another = copy.copy(self)
        another.call_id = another.admitted = another.reserved = None
        return another

    def postpone(self) -> None:
        """Undo the start: the call is only prepared, and may never run."""
        if self.admitted is not None and self.gate is not None:
            self.gate.leave_unused(self)
        outer, self.outer = self.outer, None
        if outer is not None:
            outer.inner = outer.turn_with_inner = self.turn_with_outer = None

    def __enter__(self) -> Self:
        self.start()
        if self.gate is not None:
            self.gate.enter(self)
        self._token = enter_call(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            leave_call_anywhere(self._token)
        if error is None:
            self.end()
        else:
            self.fail(error)

    async def __aenter__(self) -> Self:
        self.start()
        if self.gate is not None:
            await self.gate.enter_later(self)
        self._token = enter_call(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def fail(self, error: BaseException) -> None:
        """End the call with this exception.

        If that is the error of a call within it that never left the program, and nothing else is
        known, there was no call.
        """
        if self._was_refused(error):
            self.discard(error)
            return
        guard = self.reporter.guard
        with guard:
            self.set_error(type(error).__name__)
            with guard:  # The exception's `str()` may fail itself.
                self.error_message = str(error)
        self.end()

    def _was_refused(self, error: BaseException) -> bool:
        refusal, self.refusal = self.refusal, None
        if refusal is None or self.inner is not None or self.departed or self.usage is not None:
            return False
        return _comes_of(error, refusal)

    def discard(self, error: BaseException) -> None:
        """End the call unreported: this error came before any request had left the program."""
        outer = self.outer
        self.postpone()
        self.arguments, self.latency_ms = NOTHING, 0
        if outer is not None:
            outer.refusal = error

    def note_clamped(self, output: int) -> None:
        """The output maximum was lowered, which the record says."""
        self.is_clamped = True
        self.set_metadata(output_clamped_to=output)

    def block(self, error: "CusLimitExceeded") -> None:
        """End the call before it begins, and report it as blocked: without tokens or cost (E6)."""
        self.discard(error)
        self.policy_result = CusPolicyResult.BLOCKED
        self.error_code = error.error_code
        self.usage = self.metadata = None
        with self.reporter.guard:
            if self.is_reported:
                self.reporter.report_call(self)

    def end(self) -> None:
        """End the call and report it, unless a surrounding call reports it later."""
        ended = perf_counter()
        if self.admitted is not None and self.gate is not None:
            self.gate.leave(self)
        if self.health is not None:
            self.health.note(failed=self.error_code is not None)
        try:
            if self.refusal is not None:  # The program went on without that call.
                self.refusal = None
            if self.began < _since:
                return
            self.arguments = NOTHING  # what it sent is the program's alone
            self.latency_ms = int((ended - self.began) * 1_000 + 0.5)
            call = self if self.outer is self.inner else self._united()
            if (
                call is not None
                and call.is_reported
                and not (call.looked_up and call.is_nothing_else)
            ):
                if call is not self:
                    call.latency_ms = int((ended - call.began) * 1_000 + 0.5)
                call.reporter.report_call(call)
        except Exception as error:  # noqa: BLE001 - as the guard does
            self.reporter.guard.swallow(error)

    def _united(self) -> "CusCallTracker | None":
        """The outermost call with all its facts, or None while a part of it still runs."""
        call = self
        if call.inner is not None:
            if _takes(call.turn_with_inner):
                return None
            call.take(call.inner)
        while (outer := call.outer) is not None:
            if _takes(call.turn_with_outer):
                return None
            outer.take(call)
            call = outer
        return call


def _comes_of(error: BaseException, cause: BaseException) -> bool:
    """Whether an error is this cause, or was raised because of the cause or while handling it."""
    link: BaseException | None = error
    for _ in range(_MOST_LINKS):
        if link is None or link is cause:
            return link is cause
        link = link.__cause__ or link.__context__
    return False


def _takes(turn: list[None] | None) -> bool:
    """Take the token; False if it was taken. Atomic: two threads may end both calls at once."""
    if not turn:
        return False
    try:
        turn.pop()
    except IndexError:
        return False
    return True
