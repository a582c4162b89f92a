"""A usage record is described once (`aos_sdk.cus_fields`): every place agrees with the description.

Places that follow from the description by themselves are not looked at here. Each other place is
compared whole, so that a field or a kind of tokens that is added to one place only is noticed.
"""

import dataclasses
import inspect
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast, get_type_hints

import msgspec
import pytest
from django.contrib import admin
from django.db.models import Field, Model

from aos_sdk import CusCallTracker, CusReporter, CusTokenUsage, CusUsageRecord, cus_cost
from aos_sdk.cus_delivery import codec, layouts
from aos_sdk.cus_delivery.ended_call import CusOrigin
from aos_sdk.cus_delivery.ring import VERSION
from aos_sdk.cus_fields import (
    FIELDS,
    TOKEN_KINDS,
    TOKEN_NAMES,
    CusField,
    CusFieldType,
    CusSent,
    CusTokenKind,
)
from aos_sdk.cus_pricing import rates
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_wire import INT32_MAX
from telemetry.cus_analytics.figures import daily_name
from telemetry.cus_analytics.models import CusUsageDaily, CusUsageHourly
from telemetry.cus_evidence import content
from telemetry.cus_evidence.evidence_row import EvidenceRow
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSums
from telemetry.cus_evidence.records import decode_record
from telemetry.cus_evidence.serializers import UsageRecordSchema
from telemetry.cus_evidence.usage_record import UsageRecord
from telemetry.cus_money.billed_usage import Priceable
from tests.trust import cus_hostile
from tests.trust.cus_audit import SUMMED

_BY_NAME = {field.name: field for field in FIELDS}
# What the server adds to a row, or makes of what was sent.
_OWN_COLUMNS = {
    *("id", "tenant_id", "created_at", "admitted_at", "occurred_at", "sent_timestamp", "flags"),
    *("cost_microcents", "counted_cents", "pricing", "pricing_version", "price_id"),
    *("unpriced_units", "provisional_cents", "provisional_microcents", "provisional_tokens"),
    *("estimate_cents", "estimate_microcents", "estimate_tokens"),
}
# What the server fills in where it was not sent.
_FILLED = {"integration_id", "provider", "cost_cents"}
# Names that hostile records have and the description must not.
_INVENTED = {"from_the_future", "call_id\0", "\ud800", ""}
_IN_NO_ROW = {"call_hash", "content_hash", "reserved"}
_SET_BY_DATABASE = {name for name in _OWN_COLUMNS if name.startswith("estimate_")} | {
    "tenant_id",
    "created_at",
    "admitted_at",
}
# Records with these are stored as JSON, and so are all whose values do not fit the struct.
_ONLY_AS_JSON = {"error_message", "metadata", "billed_units", "turns", "usage_known"} | {
    *("provider_cost_microcents", "degraded", "decision")
}
# What a lease adds to a call has a layout of its own; a record with a lease is stored as JSON.
_OF_A_LEASE = {"lease_id", "reserved"}


@dataclass(frozen=True)
class Place:
    """One place that has fields of a usage record: what stands there, and what should by some."""

    found: Callable[[], Any]
    wanted: Callable[[Iterable[CusField]], Any]


def _kinds(fields: Iterable[CusField]) -> set[str]:
    """Kinds of tokens are the fields of a total that is a sum over parts."""
    return {field.name for field in fields if field.name.startswith("tokens_")} - {"tokens_total"}


def _sent(fields: Iterable[CusField]) -> set[str]:
    return {field.name for field in fields if field.sent is not CusSent.BY_DELIVERY}


def _decoded() -> dict[str, tuple[bool, bool]]:
    described = cast("msgspec.inspect.StructType", msgspec.inspect.type_info(UsageRecord))
    return {field.encode_name: _decoded_as(field) for field in described.fields}


def _decoded_as(field: msgspec.inspect.Field) -> tuple[bool, bool]:
    kinds = getattr(field.type, "types", (field.type,))
    return field.required, any(isinstance(kind, msgspec.inspect.NoneType) for kind in kinds)


def _columns() -> dict[str, bool]:
    kept = {field.attname: field for field in CusLLMUsage._meta.fields}
    return {name: field.null for name, field in kept.items() if name not in _OWN_COLUMNS}


def _column(name: str) -> "Field[Any, Any]":
    return next(field for field in CusLLMUsage._meta.fields if field.attname == name)


def _shown() -> set[str]:
    fieldsets = admin.site.get_model_admin(CusLLMUsage).fieldsets or ()
    listed = {str(name) for _, options in fieldsets for name in options["fields"]}
    # A decision of the SDK's own has a page among the decisions.
    derived = {"corrected_cost", "counted", "settlement", "delay"}
    return {*listed, "decision"} - _OWN_COLUMNS - derived


def _figures(model: "type[Model]", begin: str) -> set[str]:
    """The columns of a model whose names begin like this."""
    names = {field.attname for field in model._meta.concrete_fields}
    return {name for name in names if name.startswith(begin)}


PLACES = {
    "decoder": Place(
        _decoded,
        lambda fields: {
            field.name: (field.required and field.refuses, field.nullable) for field in fields
        },
    ),
    "documented record": Place(
        lambda: set(UsageRecordSchema().fields),
        lambda fields: {field.name for field in fields if field.documented},
    ),
    "columns of a row": Place(
        _columns,
        lambda fields: {
            field.column: field.nullable and field.name not in _FILLED
            for field in fields
            if field.column
        },
    ),
    "row as it is sent to the statement": Place(
        lambda: set(EvidenceRow.__struct_fields__) - _IN_NO_ROW,
        lambda fields: (
            {field.column for field in fields if field.column} | _OWN_COLUMNS - _SET_BY_DATABASE
        ),
    ),
    "console's page of a record": Place(
        _shown, lambda fields: {field.column for field in fields if field.column}
    ),
    "content hash": Place(
        lambda: {*content._COMPARED[content.HASH_VERSION], *content._BY_RULE},
        lambda fields: {field.name for field in fields if field.compared},
    ),
    "sums of a total": Place(
        lambda: (
            {
                field.attname
                for field in CusUsageSums._meta.fields
                if field.attname.startswith("tokens_")
            }
            - {"tokens_mismatches"}
        ),
        _kinds,
    ),
    "figures of an hour": Place(
        lambda: _figures(CusUsageHourly, "tokens_"),
        _kinds,
    ),
    "figures of a day": Place(
        lambda: {
            name.removeprefix("total_")
            for name in {daily_name(figure) for figure in _figures(CusUsageHourly, "tokens_")}
            if name in _figures(CusUsageDaily, "")
        },
        _kinds,
    ),
    "settlements in the figures of an hour": Place(
        lambda: {
            name.removeprefix("settled_") for name in _figures(CusUsageHourly, "settled_tokens_")
        },
        _kinds,
    ),
    "sums that the audit and the guards' test know": Place(
        lambda: {name for name in SUMMED if name.startswith("tokens_")} - {"tokens_mismatches"},
        _kinds,
    ),
    "SDK's record": Place(
        lambda: {field.name for field in dataclasses.fields(CusUsageRecord)}, _sent
    ),
    "a ring's newest layout": Place(
        lambda: {
            *("call_id", "stream", "timestamp"),
            *(*layouts.LAYOUT.numbers, *layouts.LAYOUT.own, *layouts.LAYOUT.texts),
        },
        lambda fields: _sent(fields) - _ONLY_AS_JSON - _OF_A_LEASE,
    ),
    "usage": Place(
        lambda: set(CusTokenUsage._fields), lambda fields: _kinds(fields) | {"tokens_total"}
    ),
    "details of a price": Place(
        lambda: {name for name in get_type_hints(cus_cost.CusCallDetails) if "tokens" in name},
        lambda fields: _kinds(fields) - {"tokens_in", "tokens_out"},
    ),
    "arguments of a price": Place(
        lambda: {
            name
            for name in inspect.signature(cus_cost.calculate_cost_microcents).parameters
            if name.startswith("tokens_")
        },
        _kinds,
    ),
    "what the server prices": Place(
        lambda: {name for name in dir(Priceable) if name.startswith("tokens_")},
        lambda fields: _kinds(fields) | {"tokens_total"},
    ),
    "hostile test's idea of a record": Place(
        lambda: {*cus_hostile.FIELDS} - _INVENTED,
        lambda fields: {field.name for field in fields},
    ),
}
_FOLLOWS = {"documented record", "content hash"}
_PLANTED = CusField(
    "tokens_planted",
    CusFieldType.COUNT,
    CusSent.SET,
    "tokens_planted",
    refuses=True,
    compared_since=1,
)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_has_the_fields_that_the_description_has(place: str) -> None:
    assert PLACES[place].found() == PLACES[place].wanted(FIELDS)


@pytest.mark.parametrize("place", sorted(PLACES.keys() - _FOLLOWS))
def test_a_field_that_is_described_and_not_added_to_a_place_is_noticed(place: str) -> None:
    assert PLACES[place].found() != PLACES[place].wanted((*FIELDS, _PLANTED))


def test_a_field_that_is_added_to_the_decoder_alone_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = msgspec.defstruct("Planted", [("planted", int, 0)], bases=(UsageRecord,))
    monkeypatch.setitem(globals(), "UsageRecord", planted)

    assert PLACES["decoder"].found() != PLACES["decoder"].wanted(FIELDS)


def test_every_kind_of_tokens_is_a_field_a_price_and_a_part_of_another_kind() -> None:
    assert _kinds(FIELDS) == set(TOKEN_NAMES)
    assert CusTokenUsage._fields == (*TOKEN_NAMES, "tokens_total")
    assert CusReportedUsage._fields[: len(CusTokenUsage._fields)] == CusTokenUsage._fields
    assert {kind.part_of for kind in TOKEN_KINDS} - {None} <= set(TOKEN_NAMES)
    parts_of_input = {kind.price for kind in TOKEN_KINDS if _whole(kind) == "tokens_in"}
    parts_of_output = {kind.price for kind in TOKEN_KINDS if _whole(kind) == "tokens_out"}
    assert parts_of_input == {"input", *rates.INPUT_KINDS}
    assert parts_of_output == {"output", *rates.OUTPUT_KINDS}
    assert parts_of_input | parts_of_output | {"units"} == set(rates.CusCostParts._fields)


def _whole(kind: CusTokenKind) -> str:
    by_name = {kind.name: kind for kind in TOKEN_KINDS}
    while kind.part_of is not None:
        kind = by_name[kind.part_of]
    return kind.name


def _of(kind: CusTokenKind) -> dict[str, int]:
    """The counts of a call whose tokens are all of one kind."""
    counts = {kind.name: 1_000}
    while kind.part_of is not None:
        counts[kind.part_of] = 1_000
        kind = next(whole for whole in TOKEN_KINDS if whole.name == kind.part_of)
    return counts


_PRICES = {kind.price: str(place) for place, kind in enumerate(TOKEN_KINDS, 1)}


@pytest.mark.parametrize("kind", TOKEN_KINDS, ids=TOKEN_NAMES)
def test_each_kind_of_tokens_is_billed_at_its_own_rate(kind: CusTokenKind) -> None:
    usage = CusTokenUsage(**_of(kind))
    pricing = rates.CusModelPricing.from_data("m", {"provider": "openai"}, _PRICES)
    cost = 1_000 * 100 * int(_PRICES[kind.price])
    parts = pricing.parts_microcents(usage)._asdict()

    assert {name: part for name, part in parts.items() if part} == {kind.price: cost}
    assert pricing.cost_microcents(usage) == cost


@pytest.mark.parametrize("kind", TOKEN_KINDS, ids=TOKEN_NAMES)
def test_the_quick_price_of_a_call_is_the_whole_one_for_every_kind(kind: CusTokenKind) -> None:
    usage = CusTokenUsage(**_of(kind))
    for model in ("gpt-4o", "gpt-realtime", "claude-sonnet-4-5"):
        pricing = cus_cost.get_model_pricing(model)
        assert pricing
        quick = cus_cost.cost_of_call(model, usage, None, None, _MOMENT)
        assert quick
        assert quick[0] == -(-pricing.cost_microcents(usage) // 1_000_000)


def _smallest(**more: object) -> bytes:
    record = {"call_id": "c", "model": "m", "tokens_in": 10**6, "tokens_out": 10**6, **more}
    return json.dumps(record).encode()


@pytest.mark.parametrize("field", [field for field in FIELDS if field.max_length])
def test_a_text_is_as_long_in_decoder_and_column_as_the_description_says(field: CusField) -> None:
    assert field.max_length
    longest, longer = "x" * field.max_length, "x" * (field.max_length + 1)
    kept = msgspec.convert(longest, get_type_hints(UsageRecord, include_extras=True)[field.name])
    assert kept == longest
    with pytest.raises(ValueError, match=r"length|regex"):
        msgspec.convert(longer, get_type_hints(UsageRecord, include_extras=True)[field.name])
    if field.column:
        assert _column(field.column).max_length in (None, field.max_length)


@pytest.mark.parametrize("field", [field for field in FIELDS if field.words])
def test_a_word_fits_its_column(field: CusField) -> None:
    assert field.words
    assert field.column
    column = _column(field.column)
    assert max(map(len, field.words)) <= (column.max_length or 0)
    assert dict(column.choices or ()) == {word.value: word.value for word in field.words}


@pytest.mark.parametrize(
    "name", [field.name for field in FIELDS if field.type is CusFieldType.COUNT]
)
def test_a_count_ends_where_the_description_says(name: str) -> None:
    assert getattr(decode_record(_smallest(**{name: INT32_MAX})).record, name) == INT32_MAX
    hint = get_type_hints(UsageRecord, include_extras=True)[name]
    for wrong in (INT32_MAX + 1, -1, "1", 1.5, True):
        with pytest.raises(ValueError, match="Expected"):
            msgspec.convert(wrong, hint)


# One value for each field, told apart from all others, as the wire has it.
_DISTINCT: dict[str, Any] = {
    field.name: 1_000 + place if field.type is CusFieldType.COUNT else field.name
    for place, field in enumerate(FIELDS)
} | {
    "timestamp": "2026-01-17T12:00:00.000000+00:00",
    "policy_result": "warned",
    "operation": "embedding",
    "integration_id": "4a8f7d7e-6a1b-4f67-9c39-5a1c0a7b0a01",
    "stream": True,
    "metadata": {"a": "metadata"},
    "billed_units": {"searches": 2},
    "usage_known": False,
    "provider_key_hint": "4f2a",
    "provider_cost_microcents": 7,
    "turns": [{"model": "claude", "tokens_in": 5}],
    "tags": ["team=red", "env=live"],
    "degraded": True,
    "decision": {"result": "allowed"},
    "lease_id": "4a8f7d7e-6a1b-4f67-9c39-5a1c0a7b0a02",
    "reserved": {"cents": 2, "microcents": 1_500_000, "tokens": 70},
}
_MOMENT = 1_768_651_200_000_000_000


def _record(**changes: object) -> CusUsageRecord:
    values = {name: _DISTINCT[name] for name in _sent(FIELDS)}
    return CusUsageRecord(**values | {"timestamp": _MOMENT, **changes})


def test_the_sdk_sends_every_field_of_its_record_and_the_server_reads_it() -> None:
    sent = _record().to_dict()
    assert sent == {name: _DISTINCT[name] for name in _sent(FIELDS)}

    decoded = decode_record(json.dumps(sent).encode())
    read = {name: msgspec.to_builtins(getattr(decoded.record, name)) for name in sent}
    assert decoded.flags == []
    assert read == sent


_NOT_AS_JSON = dict.fromkeys(_ONLY_AS_JSON | _OF_A_LEASE) | {
    "usage_known": True,
    "degraded": False,
    "tags": tuple(_DISTINCT["tags"]),
}


def test_each_value_of_a_stored_record_comes_back_under_its_own_name() -> None:
    record = _record(**_NOT_AS_JSON)
    payload = codec.encode_plain(record)

    assert payload[:1] == layouts.LAYOUT.prefix
    assert codec.decode_record(payload, "p", 7) == {
        **{name: _DISTINCT[name] for name in _sent(FIELDS) - _ONLY_AS_JSON - _OF_A_LEASE},
        "process_id": "p",
        "sequence": 7,
    }


@pytest.mark.parametrize("is_leased", [False, True])
def test_each_value_of_a_stored_call_comes_back_under_its_own_name(*, is_leased: bool) -> None:
    call = CusCallTracker(CusReporter("no key"), None, "")
    counts = {name: _DISTINCT[name] for name in CusTokenUsage._fields}
    call.usage, call.started_at = CusTokenUsage(**counts), _MOMENT
    # Delivery knows whose the call is, and its price says by which version.
    sent_names = _sent(FIELDS) - _ONLY_AS_JSON - {"integration_id", "pricing_version"}
    if is_leased:
        lease_id = uuid.UUID(_DISTINCT["lease_id"]).bytes
        aside = _DISTINCT["reserved"]
        call.reserved = (lease_id, aside["cents"], aside["microcents"], aside["tokens"])
    else:
        sent_names -= _OF_A_LEASE
    for name in sent_names - counts.keys() - {"timestamp", *CusOrigin._fields} - _OF_A_LEASE:
        setattr(call, name, _DISTINCT[name])
    call.origin = CusOrigin(**{name: _DISTINCT[name] for name in sent_names & {*CusOrigin._fields}})
    call.tags = tuple(_DISTINCT["tags"])
    stored = codec.decode_record(codec.encode_call(call), "p", 7)

    assert stored == {name: _DISTINCT[name] for name in sent_names} | {
        "process_id": "p",
        "sequence": 7,
    }
    assert call.record().to_dict() == {name: _DISTINCT[name] for name in sent_names}


# As SDK 0.1.0 stored it: rings of every release wait on disks somewhere.
_STORED_BY_0_1_0 = bytes.fromhex(
    "01010080914be5828b18"
    "03000000090000000a00000014000000010000000200000001000000040000000300000002000000"
    "050000001e000000"
    "631f6d1f701f7761726e65641f6572721f731f611f666c65781f636861741f691f76"
)


def test_a_payload_of_an_earlier_release_is_read() -> None:
    assert codec.decode_record(_STORED_BY_0_1_0, "p", 1) == {
        "call_id": "c", "model": "m", "provider": "p", "policy_result": "warned",
        "error_code": "err", "session_id": "s", "agent_id": "a", "service_tier": "flex",
        "operation": "chat", "integration_id": "i", "pricing_version": "v", "stream": True,
        "timestamp": "2026-01-17T12:00:00.000000+00:00", "cost_cents": 3, "latency_ms": 9,
        "tokens_in": 10, "tokens_out": 20, "tokens_cached": 1, "tokens_cache_write": 2,
        "tokens_cache_write_1h": 1, "tokens_reasoning": 4, "tokens_audio_in": 3,
        "tokens_audio_out": 2, "tokens_image_in": 5, "tokens_total": 30,
        "process_id": "p", "sequence": 1,
    }  # fmt: skip


def test_a_new_layout_of_a_payload_raises_the_version_of_the_ring() -> None:
    assert max(layout.since for layout in layouts.LAYOUTS.values()) <= VERSION
    prefixes = [*layouts.LAYOUTS, codec.encode_any(CusUsageRecord("c", "m"))[:1]]
    assert len(set(prefixes)) == len(prefixes), "each kind of payload has a first byte of its own"


def test_a_layout_without_a_kind_of_tokens_is_read_and_priced_as_if_there_were_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    less = layouts.CusPlainLayout(
        9,
        since=9,
        tokens=("tokens_in", "tokens_out", "tokens_reasoning"),
        texts=layouts.LAYOUT.texts,
    )
    monkeypatch.setitem(layouts.LAYOUTS, less.prefix, less)
    numbers = less.struct.pack(9, False, _MOMENT, -2, -1, 1_000, 500, 100, -1)
    stored = codec.decode_record(numbers + b"\x1fgpt-4o" + b"\x1f" * (len(less.texts) - 1), "p", 1)

    assert (stored["tokens_in"], stored["tokens_reasoning"]) == (1_000, 100)
    assert stored["cost_cents"] == cus_cost.calculate_cost(
        "gpt-4o", 1_000, 500, tokens_reasoning=100
    )
    assert "tokens_cached" not in stored
    assert "tokens_total" not in stored


# A ledger keeps hashes for ever: a change of what is compared raises `HASH_VERSION`.
_HASH_OF_VERSION = {1: "01cc5e72d9bc2c8969c6ce21ce3e94c0", 2: "026d99b0e3d983fe05cf886822acbabd"}
_VERSIONS = sorted(_HASH_OF_VERSION)


def _hash(version: int = content.HASH_VERSION, **changes: object) -> str:
    sent = {name: _DISTINCT[name] for name in _sent(FIELDS)} | changes
    whose = uuid.UUID(_DISTINCT["integration_id"])
    return content.content_hash(decode_record(json.dumps(sent).encode()).record, whose, version)


@pytest.mark.parametrize("version", _VERSIONS)
def test_a_content_hash_stays_what_it_was_as_long_as_its_version(version: int) -> None:
    assert _hash(version) == _HASH_OF_VERSION[version]
    assert content.hash_version(_HASH_OF_VERSION[version]) == version
    assert max(_VERSIONS) == content.HASH_VERSION


@pytest.mark.parametrize("version", _VERSIONS)
@pytest.mark.parametrize("name", sorted(_sent(FIELDS) - {"call_id", "integration_id"}))
def test_the_content_hash_changes_with_what_is_compared_and_with_nothing_else(
    name: str, version: int
) -> None:
    field = _BY_NAME[name]
    other: Any = {
        CusFieldType.COUNT: 5,
        CusFieldType.BIG_COUNT: 5,
        CusFieldType.FLAG: not _DISTINCT[name],
        CusFieldType.OBJECT: {"other": 1},
        CusFieldType.MOMENT: "2026-01-17T13:00:00Z",
        CusFieldType.WORD: "allowed" if name == "policy_result" else "chat",
        CusFieldType.TEXT: "other",
        CusFieldType.TURNS: [{"tokens_in": 6}],
        CusFieldType.TAGS: ["other=1"],
        CusFieldType.UUID: "4a8f7d7e-6a1b-4f67-9c39-5a1c0a7b0a03",
        CusFieldType.AMOUNTS: {"cents": 5, "microcents": 5, "tokens": 5},
    }[field.type]
    # A cost that comes with a pricing version was computed, perhaps by another table (ruling E2a).
    reported = {"pricing_version": None} if name == "cost_cents" else {}
    differs = _hash(version, **{name: other, **reported}) != _hash(version, **reported)

    assert differs is (field.compared_since is not None and field.compared_since <= version)


def test_a_cost_that_a_price_table_gave_is_no_fact_of_a_call() -> None:
    assert _hash(cost_cents=1, pricing_version="a") == _hash(cost_cents=2, pricing_version="b")
