"""One captured call: the single path that times, prices and reports, whoever captures it."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from aos_sdk.cus_context import current_call, leave_call
from aos_sdk.cus_cost import CusTokenUsage, price_call
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_record import CusUsageRecord, generate_call_id
from aos_sdk.cus_wire import CusOperation, CusPolicyResult

if TYPE_CHECKING:
    from aos_sdk.cus_reporter import CusReporter

_UNKNOWN_MODEL = "unknown"
_NO_USAGE = CusTokenUsage()


class CusCallTracker:
    """Measures the call in its `with` block and reports it when the block ends.

    An exception of the block passes through untouched; the call is then reported with the
    exception's class as `error_code` and its masked text. No method raises anything of its own.
    """

    __slots__ = (
        "_began",
        "_billed_units",
        "_cost_cents",
        "_error_code",
        "_error_message",
        "_guard",
        "_metadata",
        "_operation",
        "_policy_result",
        "_provider",
        "_reporter",
        "_service_tier",
        "_started_at",
        "_token",
        "_usage",
        "agent_id",
        "call_id",
        "model",
        "session_id",
    )

    def __init__(
        self,
        reporter: "CusReporter",
        provider: str,
        model: str,
        *,
        call_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        operation: CusOperation | None = None,
    ) -> None:
        self.call_id = call_id or generate_call_id()
        self.model = model
        self.session_id = session_id
        self.agent_id = agent_id
        self._reporter = reporter
        self._provider = provider
        self._operation = operation
        self._usage: CusTokenUsage | None = None
        self._service_tier: str | None = None
        self._billed_units: Mapping[str, int] | None = None
        self._cost_cents: int | None = None
        self._error_code: str | None = None
        self._error_message: str | None = None
        self._metadata: dict[str, Any] | None = None
        self._policy_result = CusPolicyResult.ALLOWED
        self._guard: never_raise = reporter.guard

    def __enter__(self) -> Self:
        self._started_at = time.time_ns()
        self._began = time.perf_counter_ns()
        self._token = current_call.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        latency_ms = (time.perf_counter_ns() - self._began + 500_000) // 1_000_000
        leave_call(self._token)
        with self._guard:
            if error is not None:
                self.set_error(type(error).__name__)
                with self._guard:  # an exception whose text fails is an exception all the same
                    self._error_message = str(error)
            self._reporter.report(self._record(latency_ms))

    def set_tokens(self, tokens_in: int, tokens_out: int) -> Self:
        """What the provider counted; details by `set_usage`."""
        self._usage = CusTokenUsage(tokens_in, tokens_out)
        return self

    def set_usage(
        self,
        usage: CusTokenUsage,
        service_tier: str | None = None,
        billed_units: Mapping[str, int] | None = None,
    ) -> Self:
        """All kinds of tokens that the provider counted, the tier that it served from, and what
        it bills otherwise, e.g. `{"searches": 2}`.
        """
        self._usage = usage
        self._service_tier = service_tier
        self._billed_units = billed_units
        return self

    def set_model(self, model: str) -> Self:
        """The model that answered, where it is another than the one asked for."""
        self.model = model
        return self

    def set_cost(self, cost_cents: int) -> Self:
        """A cost in cents that is known better than by the price table."""
        self._cost_cents = cost_cents
        return self

    def set_error(self, code: str, message: str = "") -> Self:
        """Report the call as failed. What looks like a key is masked before it is sent."""
        self._error_code = code
        self._error_message = message
        return self

    def set_metadata(self, **metadata: Any) -> Self:
        """Add facts of your own, JSON values of 16 KiB in all; never prompts or completions."""
        self._metadata = {**(self._metadata or {}), **metadata}
        return self

    def set_policy_result(self, result: CusPolicyResult | str) -> Self:
        """`allowed`, `warned` or `blocked`; anything else is counted as a fault and ignored."""
        with self._guard:
            self._policy_result = CusPolicyResult(result)
        return self

    def _record(self, latency_ms: int) -> CusUsageRecord:
        usage = self._usage or _NO_USAGE
        # By position, for speed; the order is that of the record's fields.
        record = CusUsageRecord(
            self.call_id,
            self.model or _UNKNOWN_MODEL,
            usage[0],
            usage[1],
            self._cost_cents,
            latency_ms,
            self._provider,
            self._policy_result,
            self._error_code,
            self._error_message,
            self.session_id,
            self.agent_id,
            None,
            self._metadata,
            self._started_at,
            *usage[2:],
            self._service_tier,
            None,
            self._operation,
        )
        if self._billed_units is not None:
            record.billed_units = self._billed_units
        # A call that cannot be priced goes without a cost, never with 0 (ruling M5); so does one
        # that succeeded and whose tokens nobody told us.
        told = self._usage is not None or self._error_code is not None
        if told and self._cost_cents is None:
            with self._guard:  # of its own, so that a price that fails does not cost the record
                _price(record, usage)
        return record


def _price(record: CusUsageRecord, usage: CusTokenUsage) -> None:
    priced = price_call(
        record.model, usage, service_tier=record.service_tier, billed_units=record.billed_units
    )
    if priced is not None:
        record.cost_cents = priced.cost_cents
        record.pricing_version = priced.pricing_version
