"""Results of batches: each is a call, at half price, counted when it is read.

A result is reported when it is read, and results can be read again, by any process. So a record is
made of the result alone: its id, its time and its content are the same each time, and the server
stores it once.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from io import BytesIO
from typing import Any, Final

from aos_sdk.cus_capture.late_answers import CusLookup, made_at
from aos_sdk.cus_counting.answer_fields import get, text_of
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusOperation, settlement_call_id

_BATCH: Final = "batch"
_OK: Final = 200
# What each kind of answer of OpenAI's is called in it; an answer without such a name is of images.
_OPERATIONS: Final = {
    "chat.completion": CusOperation.CHAT,
    "response": CusOperation.RESPONSES,
    "text_completion": CusOperation.COMPLETION,
    "list": CusOperation.EMBEDDING,
    "video": CusOperation.OTHER,  # of unknown usage: no price of a batch's seconds is published
    None: CusOperation.IMAGE,
}
# OpenAI's ids of a batch's requests are unique; at Azure the results have none.
_REQUEST_ID: Final = "batch_req_"


def _batch_tier(one: CusCallTracker) -> str:
    """Half the price, and of a result made in the United States alone half that dearer price."""
    return f"{_BATCH}_us" if (one.service_tier or "").endswith("us") else _BATCH


def batch_call_id(batch_id: str, custom_id: str) -> str:
    """The call id of a result, the same at every reading."""
    digest = hashlib.sha256(f"{batch_id}\\0{custom_id}".encode()).hexdigest()
    return f"batch-{digest[:40]}"


class CusLinesLookup(CusLookup):
    """A request whose answer is JSON lines, each perhaps the result of a batch."""

    wants_lines = True

    def read_line(self, line: bytes) -> None:
        """Look at one whole line of the answer."""
        with self.reporter.guard:
            result = json.loads(line)
            if isinstance(result, dict):
                self.read_result(result)

    def read_result(self, result: Any) -> None:
        """Report the call that this is the result of, if it is one."""
        raise NotImplementedError

    def report_result(
        self,
        call_id: str,
        answer: Any,
        ended_at: datetime | int,
        response_id: str | None = None,
    ) -> None:
        """Report one result's call, at the price of a batch."""
        one = CusCallTracker(
            self.reporter,
            self.provider,
            text_of(answer, "model") or "",
            call_id=call_id,
            session_id=self.session_id,
            agent_id=self.agent_id,
            end_user=self.end_user,
            tags=self.tags,
            operation=self.operation,
        )
        one.origin = self.origin
        one.read(answer)
        one.started_at = ended_at
        if response_id is not None:
            one.response_id = response_id
        self.reporter.report(one.record(service_tier=_batch_tier(one)))


class CusBatchLookup(CusLinesLookup):
    """The results of one of Anthropic's message batches, parsed or raw."""

    batch: Any = None  # once the results' method has looked the batch up

    def watch(self, results: Any) -> None:
        """Watch the decoder that the caller will read."""
        inner = results._iterator  # noqa: SLF001 - the one place to look on from
        is_async = hasattr(inner, "__anext__")
        watched = self._passing_async(inner) if is_async else self._passing(inner)
        results._iterator = watched  # noqa: SLF001 - likewise

    def _passing(self, inner: Iterator[Any]) -> Iterator[Any]:
        for result in inner:
            self._look_at(result)
            yield result

    async def _passing_async(self, inner: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for result in inner:
            self._look_at(result)
            yield result

    def _look_at(self, result: Any) -> None:
        with self.reporter.guard:
            self.read_result(result)

    def read_result(self, result: Any) -> None:
        """Report a result, unless nothing ran: then nothing is billed."""
        batch_id, ended_at = text_of(self.batch, "id"), get(self.batch, "ended_at")
        outcome, custom_id = get(result, "result"), text_of(result, "custom_id")
        if not batch_id or not custom_id or not isinstance(ended_at, datetime):
            return
        if get(outcome, "type") == "succeeded":
            call_id = batch_call_id(batch_id, custom_id)
            self.report_result(call_id, get(outcome, "message"), ended_at)


class CusFileLookup(CusLinesLookup):
    """A file of OpenAI's. That it holds results of a batch shows in its first line, so no process
    need know the batch; a file of any other kind is not looked at beyond that line.
    """

    _is_first = True

    def read(self, response: Any) -> None:
        """A file's text, as an old method of the package hands it over."""
        for line in BytesIO(response.encode() if isinstance(response, str) else b""):
            if not self.wants_lines:
                return
            self.read_line(line)

    def read_line(self, line: bytes) -> None:
        """Look at one whole line of the file."""
        if self._is_first and line.strip():
            self._is_first = False
            self.wants_lines = line.startswith(b"{") and b'"custom_id"' in line
        if self.wants_lines and line.strip():
            super().read_line(line)

    def read_result(self, result: Any) -> None:
        """Report the call of a result; a request that failed costs nothing."""
        response, custom_id = result.get("response"), text_of(result, "custom_id")
        answer = get(response, "body")
        if get(response, "status_code") != _OK or not isinstance(answer, dict) or not custom_id:
            return
        operation = _OPERATIONS.get(answer.get("object"))
        if operation is None or (operation is CusOperation.IMAGE and "usage" not in answer):
            return  # moderation, and whatever else is free
        self.operation = operation
        name = self._name_of(result, custom_id)
        # So named, two readers' records are compared by usage alone: some results have no time.
        moment = made_at(answer) or self.started_at
        self.report_result(settlement_call_id(name), answer, moment, name)

    def _name_of(self, result: Any, custom_id: str) -> str:
        request_id = text_of(result, "id") or ""
        if request_id.startswith(_REQUEST_ID):
            return request_id
        return batch_call_id(self.asked_for, custom_id)
