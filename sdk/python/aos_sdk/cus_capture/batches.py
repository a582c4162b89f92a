"""Results of Anthropic's message batches: each is a call, at half price, counted when it is read.

Results can be read again, by any process. So a record is made of the result alone: its id, its time
and its content are the same each time, and the server stores it once.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any, Final

from aos_sdk.cus_tracker import CusCallTracker

_BATCH: Final = "batch"


def batch_call_id(batch_id: str, custom_id: str) -> str:
    """The call id of one result, the same wherever and whenever it is read."""
    digest = hashlib.sha256(f"{batch_id}\\0{custom_id}".encode()).hexdigest()
    return f"batch-{digest[:40]}"


class CusBatchResults:
    """Reports the results of one batch as they pass."""

    def __init__(self, call: CusCallTracker, batch_id: str, ended_at: object) -> None:
        self._call = call
        self._batch_id = batch_id
        self._ended_at = ended_at if isinstance(ended_at, datetime) else None

    def watch(self, results: Any) -> None:
        """Look on at the decoder that the caller will read."""
        inner = results._iterator  # noqa: SLF001 - the one place to look on from
        is_async = hasattr(inner, "__anext__")
        watched = self._passing_async(inner) if is_async else self._passing(inner)
        results._iterator = watched  # noqa: SLF001 - likewise

    def _passing(self, inner: Iterator[Any]) -> Iterator[Any]:
        for result in inner:
            self._report(result)
            yield result

    async def _passing_async(self, inner: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for result in inner:
            self._report(result)
            yield result

    def _report(self, result: Any) -> None:
        call = self._call
        with call.reporter.guard:
            outcome = result.result
            if outcome.type != "succeeded" or self._ended_at is None:
                return  # nothing ran, so nothing is billed
            one = CusCallTracker(
                call.reporter,
                call.provider,
                "",
                call_id=batch_call_id(self._batch_id, result.custom_id),
                session_id=call.session_id,
                agent_id=call.agent_id,
                operation=call.operation,
            )
            one.origin = call.origin
            one.read(outcome.message)
            one.started_at = self._ended_at
            call.reporter.report(one.record(service_tier=_BATCH))
