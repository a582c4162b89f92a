"""The byte layouts of usual records: one for each release that changed the layout.

A layout never changes once it was released, because rings of older releases wait on disks. To store
a further number or text: add a layout with a kind of its own, keep the earlier ones to read, and raise
the ring's `VERSION`.
"""

from operator import itemgetter
from struct import Struct
from typing import Final

from aos_sdk.cus_fields import FIELDS, TOKEN_NAMES, CusFieldType

MISSING: Final = -1
# Of a call under a lease: the lease's id, and the amounts set aside, as `CusReserved` has them.
LEASE: Final = Struct("<16s3q")
# The values that stand for a missing number. The server takes a missing detail for 0.
_ABSENT: Final = {
    field.name: MISSING if field.nullable else 0
    for field in FIELDS
    if field.type is CusFieldType.COUNT and not field.required
}


class CusPlainLayout:
    """The byte layout of a usual record, by the names of the record's fields.

    First a struct: kind, stream, timestamp in nanoseconds, cost, latency, the kinds of tokens, their
    total; of a call under a lease also the lease's id and what was set aside of it. Then texts, each
    after a separator but the first, which is the call id. Texts that differ from call to call come
    first (`own`), then those that most calls of a program share (`texts`).

    `encode_plain` and `encode_call` name each value once more, because a getter made of these names
    takes half as long again, on the caller's clock. A test holds their order and this one together.
    """

    def __init__(
        self,
        kind: int,
        *,
        since: int,
        tokens: tuple[str, ...],
        texts: tuple[str, ...],
        own: tuple[str, ...] = (),
        is_leased: bool = False,
    ) -> None:
        """`since` is the first version of a ring that may hold such payloads."""
        self.prefix = bytes((kind,))
        self.since = since
        self.tokens = tokens
        self.own = own
        self.texts = texts
        self.own_members = [f',"{name}":' for name in own]
        self.numbers = ("cost_cents", "latency_ms", *tokens, "tokens_total")
        self.is_leased = is_leased
        of_lease = LEASE.format.removeprefix("<") if is_leased else ""
        self.struct = Struct(f"<B?q{len(self.numbers)}i{of_lease}")
        # The JSON name of each number, and the value that stands for a missing number.
        self.members = [f',"{name}":' for name in self.numbers]
        self.absent = [_ABSENT.get(name) for name in self.numbers]
        # Picks the counts that a price depends on out of the numbers, followed by 0 and None: 0 for
        # a kind that the layout lacks, None for the total.
        places = {name: place for place, name in enumerate((*self.numbers, ""))}
        self.counts = itemgetter(*(places.get(kind, places[""]) for kind in TOKEN_NAMES), -1)


# Spelt out, not taken from `TOKEN_NAMES`: a kind that is added there is not in released payloads.
_TOKENS: Final = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_audio_in",
    "tokens_audio_out",
    "tokens_image_in",
)
_TEXTS: Final = (
    "model",
    "provider",
    "policy_result",
    "error_code",
    "session_id",
    "agent_id",
    "service_tier",
    "operation",
    "integration_id",
    "pricing_version",
)
_OF_0_1_0: Final = CusPlainLayout(1, since=1, tokens=_TOKENS, texts=_TEXTS)
_OWN: Final = ("response_id", "provider_request_id")
_MORE_TEXTS: Final = (
    *_TEXTS,
    "model_requested",
    "host",
    "region",
    "provider_project",
    "provider_key_hint",
    "end_user",
    "tags",
)
LAYOUT: Final = CusPlainLayout(3, since=2, tokens=_TOKENS, own=_OWN, texts=_MORE_TEXTS)
# Of calls under a lease (ruling F5a).
LEASED_LAYOUT: Final = CusPlainLayout(
    4, since=2, tokens=_TOKENS, own=_OWN, texts=_MORE_TEXTS, is_leased=True
)
# All released layouts, by the first byte of their payloads. New records have `LAYOUT`, or
# `LEASED_LAYOUT`.
LAYOUTS: Final = {layout.prefix: layout for layout in (_OF_0_1_0, LAYOUT, LEASED_LAYOUT)}
