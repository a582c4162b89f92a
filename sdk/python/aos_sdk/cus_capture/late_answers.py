"""Calls whose usage is known later than their answer (ruling M5b): responses in the background,
runs of assistants, live sessions.

The call is reported as one of unknown usage, by the id of its answer. Each process that reads the finished
answer, in this process or another, reports what it used: under a call id made of the answer's id,
so that the server counts it once however often it is read.
"""

from time import perf_counter, time_ns
from typing import Any, Final

from aos_sdk.cus_capture.surfaces import CusProviderCall
from aos_sdk.cus_counting.answer_fields import get, runs_on, text_of
from aos_sdk.cus_scope import current_call
from aos_sdk.cus_tracker import NOTHING, CusCallTracker
from aos_sdk.cus_wire import answer_id, settlement_call_id

_FAILED: Final = "failed"
_ENDED: Final = frozenset({"completed", "incomplete", "cancelled", "expired", _FAILED})
_NANOSECONDS: Final = 1_000_000_000


class CusResponseCall(CusProviderCall):
    """A response or a run. What runs on in the background tells later what it used."""

    _answer: Any = None

    def set_names_from(self, response: Any) -> None:
        """As of every answer; and whether it runs on."""
        super().set_names_from(response)
        if runs_on(response) and self.response_id:
            self.is_late, self._answer = True, response

    def end(self) -> None:
        """The call ends now. A background response that is finished already is settled as well."""
        answer, self._answer = self._answer, None
        if answer is not None:
            # Of a whole answer or none: each later reader of it reports the same.
            self.usage = self.service_tier = self.billed_units = None
        super().end()
        if answer is not None:
            report_answer(self, answer)


class CusSessionCall(CusProviderCall):
    """A request that begins a session, which is billed by its time.

    What it used is told at its end, to connections that listen to it.
    """

    asked_for = ""  # the id of the session that the method names

    def start(self) -> None:
        """The call starts now; it names its model among the session's settings."""
        if not self.model:
            self.model = text_of(self.arguments.get("session"), "model") or ""
        super().start()

    def set_names_from(self, response: Any) -> None:
        """The session has an id of its own in the answer."""
        self.asked_for = text_of(get(response, "session"), "id") or self.asked_for

    def end(self) -> None:
        """The request is over; unless it failed, the session goes on."""
        if self.error_code is None:
            self.is_late = True
            self.response_id = answer_id(self.asked_for) if self.asked_for else None
        super().end()


class CusLookup(CusProviderCall):
    """A request that is no call of a model, looked on at because its answer tells of calls.

    It is a part of no other call, and nothing of it is reported but what it tells.
    """

    is_late = True  # nothing is counted in its place
    is_reported = False
    asked_for = ""  # the id of what is looked up
    wants_lines = False

    def start(self) -> None:
        """The request starts now. A call around it may be about nothing else."""
        outer: CusCallTracker | None = current_call()
        if outer is not None:
            outer.looked_up = True
        self.started_at = time_ns()
        self.began = perf_counter()

    def postpone(self) -> None:
        """A request that is only prepared has no start to take back."""

    def fail(self, error: BaseException) -> None:
        """The request failed; what has come before is told."""
        self.end()

    def end(self) -> None:
        """The request is over."""
        self.arguments = NOTHING


class CusAnswerLookup(CusLookup):
    """A response or a run that is looked up: reports what it used, once it is finished.

    Only of what runs on in the background: all else was measured by the call that made it.
    """

    _answer: Any = None

    def set_names_from(self, response: Any) -> None:
        """Keep the answer; of a stream, the last event's."""
        self._answer = response

    def end(self) -> None:
        """The request is over."""
        super().end()
        answer, self._answer = self._answer, None
        if runs_on(answer):
            report_answer(self, answer)


def report_answer(call: CusProviderCall, response: Any) -> None:
    """Report what a finished response used; nothing of one that is still being made.

    A cancelled one without usage stays unknown: the provider does not say that it was free.
    """
    with call.reporter.guard:
        response_id = text_of(response, "id")
        if not response_id or get(response, "status") not in _ENDED:
            return
        told = _told(call, response, response_id)
        if told.usage is None and get(response, "status") == _FAILED:
            told.set_error(*_error_of(response))
        if told.usage is not None or told.error_code is not None:
            call.reporter.report(told.record())


def _told(call: CusProviderCall, response: Any, response_id: str) -> CusCallTracker:
    told = CusCallTracker(
        call.reporter,
        call.provider,
        text_of(response, "model") or "",
        call_id=settlement_call_id(response_id),
        session_id=call.session_id,
        agent_id=call.agent_id,
        end_user=call.end_user,
        tags=call.tags,
        operation=call.operation,
    )
    told.origin = call.origin
    told.read(response)
    told.started_at = made_at(response) or call.started_at
    return told


def made_at(answer: Any) -> int | None:
    """When a call began, as its answer tells, in nanoseconds since the epoch: the same to every
    reader. None where the answer has no such time.
    """
    moment = get(answer, "created_at") or get(answer, "created")
    is_number = isinstance(moment, int | float) and moment > 0
    return int(moment * _NANOSECONDS) if is_number else None


def _error_of(response: Any) -> tuple[str, str]:
    error = get(response, "error") or get(response, "last_error")
    return text_of(error, "code") or _FAILED, text_of(error, "message") or ""
