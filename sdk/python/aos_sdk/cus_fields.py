"""A usage record, described once: its kinds of tokens and its fields, as data.

SDK and server both import this module. Decoder, OpenAPI document, statement, totals and content
hash of the server follow from it, and so does what the SDK's record sends. Declarations that type
checkers need are written out beside it (`UsageRecord`, `CusLLMUsage`, `CusUsageRecord`, a ring's
layout): `tests/architecture/test_cus_usage_fields.py` holds them together with this description.
"""

from enum import Enum, StrEnum
from typing import Final, NamedTuple, TypeAlias

from aos_sdk.cus_wire import (
    MAX_AGENT_ID_LENGTH,
    MAX_CALL_ID_LENGTH,
    MAX_END_USER_LENGTH,
    MAX_ERROR_CODE_LENGTH,
    MAX_ERROR_MESSAGE_LENGTH,
    MAX_HOST_LENGTH,
    MAX_KEY_HINT_LENGTH,
    MAX_MODEL_LENGTH,
    MAX_PROVIDER_LENGTH,
    MAX_REGION_LENGTH,
    MAX_RESPONSE_ID_LENGTH,
    MAX_SESSION_ID_LENGTH,
    MAX_TAG_LENGTH,
    MAX_TAGS,
    MAX_TURNS,
    CusOperation,
    CusPolicyResult,
)

_IN: Final = "tokens_in"
_OUT: Final = "tokens_out"


class CusTokenKind(NamedTuple):
    """One kind of tokens: a count of a record, a column of a row, a sum of a total.

    `part_of` names the kind that includes this kind (ruling M4); None for input and output
    themselves. `price` is the name of the kind's rate in a price list.
    """

    name: str
    price: str
    part_of: str | None = None


TOKEN_KINDS: Final = (
    CusTokenKind(_IN, "input"),
    CusTokenKind(_OUT, "output"),
    CusTokenKind("tokens_cached", "cached", _IN),
    CusTokenKind("tokens_cache_write", "cache_write_5m", _IN),
    CusTokenKind("tokens_cache_write_1h", "cache_write_1h", "tokens_cache_write"),
    CusTokenKind("tokens_reasoning", "reasoning", _OUT),
    CusTokenKind("tokens_audio_in", "audio_in", _IN),
    CusTokenKind("tokens_audio_out", "audio_out", _OUT),
    CusTokenKind("tokens_image_in", "image_in", _IN),
)
# In this order wherever kinds stand in a row. Totals sum each of them.
TOKEN_NAMES: Final = tuple(kind.name for kind in TOKEN_KINDS)


class CusFieldType(Enum):
    """What a value of a field is on the wire."""

    COUNT = "an integer from 0 to 2**31 - 1"
    BIG_COUNT = "an integer from 0 to 2**63 - 1"
    CALL_ID = "printable ASCII characters without spaces"
    TEXT = "a text"
    MOMENT = "a moment in ISO 8601 with a zone"
    UUID = "a UUID"
    WORD = "one of the words of an enumeration"
    FLAG = "a boolean"
    OBJECT = "a JSON object of bounded size and depth"
    AMOUNTS = "cents, microcents and tokens that were set aside"
    TURNS = f"up to {MAX_TURNS} objects of model, service_tier and kinds of tokens"
    TAGS = f"up to {MAX_TAGS} texts `key=value` of up to {MAX_TAG_LENGTH} characters"


class CusSent(Enum):
    """When the SDK's own record sends a field."""

    ALWAYS = "in each record"
    TEXT = "if it is not None, cut to its limit and masked"
    GIVEN = "if it is not None"
    SET = "if it is neither 0 nor false nor empty, for which the server takes a missing value"
    FALSE = "if it is false, for which the server takes a missing value as true"
    CLEANED = "if there is any, shortened and masked in a way of its own"
    BY_DELIVERY = "never: delivery or a check adds the field"


class CusMask(Enum):
    """What is blanked out of a text that a program writes freely (ruling E9)."""

    SECRETS = "all that looks like a key"
    NAME = "what looks like a key and is long enough for one"


_Words: TypeAlias = type[StrEnum]


class CusField(NamedTuple):
    """One field of a usage record.

    `refuses`: a bad value refuses the record, because the call could not be counted; a bad value
    of another field is cut or dropped (ruling E4). `compared_since`: two reports of one call id that
    differ in the field are a conflict (ruling E2); the content hashes of that version and of later
    ones contain the field. `column` is where a row keeps the value as it was sent; None if the row
    keeps something that was made of the value.
    """

    name: str
    type: CusFieldType
    sent: CusSent
    column: str | None
    required: bool = False
    nullable: bool = False
    max_length: int | None = None
    words: _Words | None = None
    mask: CusMask | None = None
    refuses: bool = False
    compared_since: int | None = None
    documented: bool = True
    help: str = ""

    @property
    def compared(self) -> bool:
        """Whether two reports of one call id that differ in the field are a conflict."""
        return self.compared_since is not None


def _kind(kind: CusTokenKind) -> CusField:
    required = kind.part_of is None
    return CusField(
        kind.name,
        CusFieldType.COUNT,
        CusSent.ALWAYS if required else CusSent.SET,
        kind.name,
        required=required,
        refuses=True,
        compared_since=1,
    )


def _text(
    name: str,
    max_length: int,
    *,
    sent: CusSent = CusSent.TEXT,
    column: str | None = None,
    mask: CusMask | None = None,
    compared_since: int | None = None,
    help: str = "",
) -> CusField:
    return CusField(
        name,
        CusFieldType.TEXT,
        sent,
        column or name,
        nullable=True,
        max_length=max_length,
        mask=mask,
        compared_since=compared_since,
        help=help,
    )


_WHOLE, _PARTS = TOKEN_KINDS[:2], TOKEN_KINDS[2:]
FIELDS: Final = (
    CusField(
        "call_id",
        CusFieldType.CALL_ID,
        CusSent.ALWAYS,
        "call_id",
        required=True,
        max_length=MAX_CALL_ID_LENGTH,
        refuses=True,
        help="Idempotency key.",
    ),
    CusField(
        "integration_id",
        CusFieldType.UUID,
        CusSent.GIVEN,
        "integration_id",
        nullable=True,
        refuses=True,
        compared_since=1,
    ),
    CusField(
        "model",
        CusFieldType.TEXT,
        CusSent.TEXT,
        "model",
        required=True,
        max_length=MAX_MODEL_LENGTH,
        refuses=True,
        compared_since=1,
    ),
    *map(_kind, _WHOLE),
    CusField(
        "cost_cents",
        CusFieldType.COUNT,
        CusSent.GIVEN,
        "cost_cents",
        nullable=True,
        refuses=True,
        compared_since=1,
    ),
    *map(_kind, _PARTS),
    CusField(
        "tokens_total",
        CusFieldType.COUNT,
        CusSent.GIVEN,
        "tokens_total",
        nullable=True,
        refuses=True,
        compared_since=1,
    ),
    # The row keeps the moment as `occurred_at`, or a text that is no usable moment beside it.
    CusField(
        "timestamp",
        CusFieldType.MOMENT,
        CusSent.ALWAYS,
        None,
        required=True,
        nullable=True,
        max_length=50,
        compared_since=1,
        help="Start of the call, with a zone.",
    ),
    _text("provider", MAX_PROVIDER_LENGTH, compared_since=1),
    _text("session_id", MAX_SESSION_ID_LENGTH, mask=CusMask.NAME),
    _text("agent_id", MAX_AGENT_ID_LENGTH, mask=CusMask.NAME),
    CusField(
        "latency_ms",
        CusFieldType.COUNT,
        CusSent.GIVEN,
        "latency_ms",
        nullable=True,
        compared_since=1,
    ),
    CusField(
        "policy_result",
        CusFieldType.WORD,
        CusSent.ALWAYS,
        "policy_result",
        words=CusPolicyResult,
        compared_since=1,
    ),
    _text("error_code", MAX_ERROR_CODE_LENGTH, mask=CusMask.SECRETS, compared_since=1),
    _text("error_message", MAX_ERROR_MESSAGE_LENGTH, sent=CusSent.CLEANED),
    CusField("metadata", CusFieldType.OBJECT, CusSent.CLEANED, "metadata"),
    CusField("operation", CusFieldType.WORD, CusSent.GIVEN, "operation", words=CusOperation),
    CusField("stream", CusFieldType.FLAG, CusSent.SET, "stream"),
    _text("service_tier", 50, sent=CusSent.GIVEN, mask=CusMask.NAME, compared_since=2),
    CusField(
        "billed_units",
        CusFieldType.OBJECT,
        CusSent.SET,
        "billed_units",
        nullable=True,
        compared_since=2,
        help="What is billed otherwise than by tokens: a count for each unit.",
    ),
    _text(
        "pricing_version",
        100,
        sent=CusSent.GIVEN,
        column="reported_pricing_version",
        mask=CusMask.NAME,
    ),
    _text(
        "model_requested",
        MAX_MODEL_LENGTH,
        compared_since=2,
        help="The model as asked for, if another name answered.",
    ),
    _text(
        "host", MAX_HOST_LENGTH, compared_since=2, help="The host that was called, nothing more."
    ),
    _text("region", MAX_REGION_LENGTH, help="Where the provider bills by region."),
    # The row keeps it as its pricing, `unmeasured` (ruling M5b).
    CusField(
        "usage_known",
        CusFieldType.FLAG,
        CusSent.FALSE,
        None,
        compared_since=2,
        help="False if no answer has said what the call used.",
    ),
    _text(
        "response_id",
        MAX_RESPONSE_ID_LENGTH,
        help="The provider's id of the answer: later usage of the call is found by it.",
    ),
    _text("provider_request_id", MAX_RESPONSE_ID_LENGTH, mask=CusMask.NAME),
    _text("provider_project", 100, mask=CusMask.NAME),
    _text(
        "provider_key_hint",
        MAX_KEY_HINT_LENGTH,
        help="The last characters of the provider's key, never the key.",
    ),
    CusField(
        "provider_cost_microcents",
        CusFieldType.BIG_COUNT,
        CusSent.GIVEN,
        "provider_cost_microcents",
        nullable=True,
        help="What the provider's answer says that the call cost.",
    ),
    CusField(
        "turns",
        CusFieldType.TURNS,
        CusSent.SET,
        "turns",
        nullable=True,
        compared_since=2,
        help="The model turns of a call, whose tokens add up to the record's.",
    ),
    _text("end_user", MAX_END_USER_LENGTH, mask=CusMask.NAME),
    CusField("tags", CusFieldType.TAGS, CusSent.CLEANED, "tags", nullable=True),
    _text("process_id", 100, sent=CusSent.BY_DELIVERY),
    CusField("sequence", CusFieldType.BIG_COUNT, CusSent.BY_DELIVERY, "sequence", nullable=True),
    CusField("lease_id", CusFieldType.UUID, CusSent.GIVEN, "lease_id", nullable=True),
    # Lowers the lease; the row keeps the amounts as its estimate.
    CusField(
        "reserved",
        CusFieldType.AMOUNTS,
        CusSent.GIVEN,
        None,
        nullable=True,
        documented=False,
    ),
    CusField("degraded", CusFieldType.FLAG, CusSent.SET, "degraded"),
    CusField(
        "decision",
        CusFieldType.OBJECT,
        CusSent.SET,
        "decision",
        nullable=True,
        help="What the SDK decided by itself (leased, degraded).",
    ),
)


def names_sent(*ways: CusSent) -> tuple[str, ...]:
    """The fields that the SDK's record sends in one of these ways, in the description's order."""
    return tuple(field.name for field in FIELDS if field.sent in ways)
