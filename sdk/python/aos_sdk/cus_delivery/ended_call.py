"""A call that has ended, as delivery takes it over from capture."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, Self, TypeAlias
from uuid import UUID

from aos_sdk.cus_cost import CusTokenUsage, cost_of_call
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_pricing.places import CusPlace
from aos_sdk.cus_record import CusUsageRecord, call_id_of, generate_call_id
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_wire import CusOperation, CusPolicyResult

UNKNOWN_MODEL: Final = "unknown"
NO_USAGE: Final = CusTokenUsage()


class CusOrigin(NamedTuple):
    """Where a call went and on whose account, as far as the provider's client tells (ruling M5a).

    `host` has neither port nor path. `region` is where the provider bills by it. `provider_project`
    is a project or an organization of the provider's. `provider_key_hint` is the last 4 characters
    of the provider's key, never the key. `dialect` is the provider whose protocol the client speaks,
    if the answer is to be read by it and not by the call's own provider; records don't send it.
    """

    host: str | None = None
    region: str | None = None
    provider_project: str | None = None
    provider_key_hint: str | None = None
    dialect: str | None = None


NO_ORIGIN: Final = CusOrigin()


# What was set aside for a call of a lease (ruling F5a): the lease's id, and cents, microcents and
# tokens. A plain tuple, which is made in a third of a named one's time.
CusReserved: TypeAlias = tuple[bytes, int, int, int]
RESERVED_AMOUNTS: Final = ("cents", "microcents", "tokens")


class CusCallReporter(Protocol):
    """Takes over calls that have ended, and records: what a call knows of its reporter."""

    guard: never_raise

    def report(self, record: CusUsageRecord) -> None:
        """Hand one record over for delivery."""

    def report_call(self, call: "CusEndedCall") -> None:
        """Hand over a call that has ended."""


class CusRecount(Protocol):
    """Counts the tokens of a call by the tokenizer, later: it holds the texts until then (T3)."""

    size_bytes: int

    def usage(self, seconds_left: Callable[[], float]) -> CusTokenUsage | None:
        """What the call used; None where that is unknown, or can no longer be told."""


class CusEndedCall:
    """The facts of one call: all that delivery knows of it, and stores without a record object.

    Capture derives its calls from this class and sets their facts while the program waits. A fact
    that most calls lack has its default on the class, so that these calls spend no time on it.
    """

    reporter: CusCallReporter
    call_id: str | None = None  # None until it is stored, if the program did not name it
    sequence: int  # in its process, once it waits in memory
    provider: str | None
    model: str
    operation: CusOperation | None
    session_id: str | None = None
    agent_id: str | None = None
    started_at: datetime | int  # nanoseconds since the epoch, or a time that is known otherwise
    # Whether the program can no longer change the call.
    is_settled = False
    stream = False
    usage: CusTokenUsage | CusReportedUsage | None = None
    service_tier: str | None = None
    billed_units: Mapping[str, int] | None = None
    cost_cents: int | None = None
    latency_ms: int | None = None  # None while the call runs
    error_code: str | None = None
    error_message: str | None = None
    metadata: dict[str, Any] | None = None
    policy_result = CusPolicyResult.ALLOWED
    recount: CusRecount | None = None  # where the usage is approximated and can be counted
    model_requested: str | None = None  # None where the model that answered has the same name
    origin: CusOrigin = NO_ORIGIN
    response_id: str | None = None
    provider_request_id: str | None = None
    provider_cost_microcents: int | None = None
    turns: Sequence[Mapping[str, Any]] | None = None
    end_user: str | None = None
    tags: tuple[str, ...] | None = None
    # What the SDK decided without the server (ruling F9), and whether limits were not checked.
    decision: Mapping[str, Any] | None = None
    degraded = False
    reserved: CusReserved | None = None  # None without a lease
    # Whether it runs on at the provider after its answer: what it uses is known later (ruling M5b).
    is_late = False

    @property
    def usage_known(self) -> bool:
        """Whether it is known what the call used (ruling M5b).

        False for a call that ran to its end without usage or cost. A call that
        failed or was blocked counts as one that used nothing.
        """
        return not self.is_late and (
            self.usage is not None
            or self.error_code is not None
            or self.cost_cents is not None
            or self.policy_result == CusPolicyResult.BLOCKED
        )

    @property
    def wants_price(self) -> bool:
        """Whether its cost is to be computed: the program named none, and the call has tokens or failed."""
        told = self.usage is not None or (
            self.error_code is not None and self.policy_result != CusPolicyResult.BLOCKED
        )
        return told and self.cost_cents is None and not self.is_late

    def named(self, process_id: str, sequence: int) -> Self:
        """The call; if it has no call id yet, with the id of the number that it is stored as."""
        if self.call_id is None:
            self.call_id = call_id_of(process_id, sequence)
        return self

    def record(self, service_tier: str | None = None) -> CusUsageRecord:
        """The usage record of the call, priced. `service_tier` is one that is known otherwise."""
        usage: Any = self.usage or NO_USAGE
        if type(usage) is tuple:  # set by a caller without a type checker
            usage = CusTokenUsage._make(usage)
        if self.call_id is None:
            self.call_id = generate_call_id()
        # Set one by one, which takes half the time of as many arguments by name.
        record = CusUsageRecord(
            self.call_id, self.model or UNKNOWN_MODEL, timestamp=self.started_at
        )
        record.tokens_in = usage.tokens_in
        record.tokens_out = usage.tokens_out
        record.cost_cents = self.cost_cents
        record.latency_ms = self.latency_ms
        record.provider = self.provider
        record.policy_result = self.policy_result
        record.error_code = self.error_code
        record.error_message = self.error_message
        record.session_id = self.session_id
        record.agent_id = self.agent_id
        record.metadata = self.metadata
        record.tokens_cached = usage.tokens_cached
        record.tokens_cache_write = usage.tokens_cache_write
        record.tokens_cache_write_1h = usage.tokens_cache_write_1h
        record.tokens_reasoning = usage.tokens_reasoning
        record.tokens_audio_in = usage.tokens_audio_in
        record.tokens_audio_out = usage.tokens_audio_out
        record.tokens_image_in = usage.tokens_image_in
        record.tokens_total = usage.tokens_total
        record.service_tier = service_tier or self.service_tier
        record.operation = self.operation
        record.stream = self.stream
        record.billed_units = self.billed_units
        self._add_names(record)
        if self.wants_price:
            self._price(record)
        return record

    def _add_names(self, record: CusUsageRecord) -> None:
        """What was asked for, where the call went, for whom, and how the provider calls it."""
        record.model_requested = self.model_requested
        (
            record.host, record.region, record.provider_project, record.provider_key_hint,
        ) = self.origin[:4]  # fmt: skip
        record.usage_known = self.usage_known
        record.response_id = self.response_id
        record.provider_request_id = self.provider_request_id
        record.provider_cost_microcents = self.provider_cost_microcents
        record.turns = self.turns
        record.end_user = self.end_user
        record.tags = self.tags
        record.degraded, record.decision = self.degraded, self.decision
        if self.reserved is not None:
            lease_id, *amounts = self.reserved
            record.lease_id = str(UUID(bytes=lease_id))
            record.reserved = dict(zip(RESERVED_AMOUNTS, amounts, strict=True))

    def _price(self, record: CusUsageRecord) -> None:
        # A call that cannot be priced goes without a cost, never with 0 (ruling M5).
        with self.reporter.guard:  # of its own: a price that fails must not cost the record
            priced = cost_of_call(
                record.model,
                record,
                record.service_tier,
                record.billed_units,
                self.started_at,
                place=CusPlace(record.provider, record.region),
                turns=record.turns,
            )
            if priced is not None:
                record.cost_cents, record.pricing_version = priced
