"""Decode what holders of leases say, strictly; a refusal names the field."""

import uuid
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from aos_sdk import cus_wire as wire
from enforcement.cus_checks.requests import CheckRequest, RunBudget, Tag, decoded
from enforcement.cus_rules.lending import Holder
from telemetry.cus_evidence.usage_record import BigCount, CallId, ModelName
from telemetry.cus_money.amounts import LEAST, LeaseAmounts

HolderId = Annotated[
    str, Meta(pattern=rf"^[^\x00\ud800-\udfff]{{1,{wire.MAX_HOLDER_ID_LENGTH}}}\Z")
]


class SetAside(msgspec.Struct, frozen=True):
    """All that a holder ever set aside of a lease. Nothing is left out: 0 returns everything."""

    cents: BigCount
    microcents: BigCount
    tokens: BigCount
    calls: BigCount

    def amounts(self) -> LeaseAmounts:
        """The amounts as a lease has them."""
        return LeaseAmounts(self.cents, self.microcents, self.tokens, self.calls)


class CallEstimate(msgspec.Struct, frozen=True):
    """What one call may take."""

    cents: BigCount = 0
    microcents: BigCount = 0
    tokens: BigCount = 0


class OverLease(msgspec.Struct, frozen=True):
    """A lease under which no call will begin any more."""

    lease_id: uuid.UUID
    set_aside: SetAside


class LeaseScopes(msgspec.Struct, frozen=True):
    """What every call of a lease names, of the scopes of which there are limits."""

    model: ModelName | None = None
    agent_id: Annotated[str, Meta(max_length=wire.MAX_AGENT_ID_LENGTH)] | None = None
    # Null says that the calls name no session; without it they may name any.
    session_id: (
        Annotated[str, Meta(max_length=wire.MAX_SESSION_ID_LENGTH)] | msgspec.UnsetType | None
    ) = msgspec.UNSET
    end_user: Annotated[str, Meta(max_length=wire.MAX_END_USER_LENGTH)] | None = None
    tags: Annotated[list[Tag], Meta(max_length=wire.MAX_TAGS)] | None = None


class LeaseRequest(msgspec.Struct, frozen=True):
    """A holder that wants a lease, and what it says of the leases and calls that it has."""

    holder_id: HolderId
    # None: a holder that wants no lease, and only returns and keeps what it names.
    estimate: CallEstimate | None = None
    lease_id: uuid.UUID | None = None
    # The id of the lease to come, by which a holder that never gets the answer returns the lease.
    next_lease_id: uuid.UUID | None = None
    returns: Annotated[list[OverLease], Meta(max_length=wire.MAX_LEASE_RETURNS)] = []
    running: Annotated[list[CallId], Meta(max_length=wire.MAX_RUNNING_CALLS)] = []
    keep: Annotated[list[uuid.UUID], Meta(max_length=wire.MAX_KEPT_LEASES)] = []
    is_durable: bool = False
    spent: SetAside | None = None
    # What all calls of the lease name: one combination, or a list of it. None: a holder that knows
    # no scopes; it gets no lease while there is a limit at a scope.
    scopes: LeaseScopes | list[LeaseScopes] | None = None
    # The budget in code of the session that the scopes name.
    run: RunBudget | None = None

    @property
    def named(self) -> LeaseScopes | None:
        """What all calls of the lease name; None if that is not one combination."""
        if isinstance(self.scopes, list):
            return self.scopes[0] if len(self.scopes) == 1 else None
        return self.scopes

    @property
    def says_session(self) -> bool:
        """Whether the holder says of which session, or of none, all calls of the lease are."""
        return self.named is not None and self.named.session_id is not msgspec.UNSET

    @property
    def holder(self) -> Holder:
        """The holder as lending sees it; no estimate is less than the least call (ruling F3a)."""
        asked = self.estimate or CallEstimate()
        estimate = LeaseAmounts(
            max(asked.cents, LEAST.cents),
            max(asked.microcents, LEAST.microcents),
            max(asked.tokens, LEAST.tokens),
            calls=1,
        )
        spent = self.spent.amounts() if self.spent else None
        return Holder(estimate, spent, self.is_durable)

    @property
    def set_aside(self) -> Mapping[uuid.UUID, LeaseAmounts]:
        """What was set aside of each lease that is over."""
        return {over.lease_id: over.set_aside.amounts() for over in self.returns}

    def as_check(self) -> CheckRequest:
        """The check of a call of the estimate, which is no call: it has no id, and no hold."""
        scopes = self.named or LeaseScopes()
        return CheckRequest(
            call_id="",
            reserve=False,
            run=self.run,
            **{
                name: value
                for name in LeaseScopes.__struct_fields__
                if (value := getattr(scopes, name)) is not msgspec.UNSET
            },
        )


class _End(msgspec.Struct, frozen=True):
    set_aside: SetAside


_lease = msgspec.json.Decoder(LeaseRequest)
_end = msgspec.json.Decoder(_End)


def decode_lease(body: bytes) -> LeaseRequest:
    """The request for a lease in a body. Raises RequestRefused."""
    return decoded(_lease, body)


def decode_end(body: bytes) -> LeaseAmounts:
    """What was set aside of a lease that ends, from a body. Raises RequestRefused."""
    return decoded(_end, body).set_aside.amounts()
