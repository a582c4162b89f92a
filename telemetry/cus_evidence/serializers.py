"""What the OpenAPI document says of telemetry. Decoding itself is `cus_evidence.records`' business."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rest_framework import serializers

from aos_sdk import cus_wire as wire
from aos_sdk.cus_fields import FIELDS, TOKEN_NAMES, CusField, CusFieldType


def _count(**more: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=0, max_value=wire.INT32_MAX, **more)


class Turn(serializers.Serializer[object]):
    """One model turn of a call; what it leaves out is 0, or as the record has it."""

    model = serializers.CharField(max_length=wire.MAX_MODEL_LENGTH, required=False)
    service_tier = serializers.CharField(max_length=50, required=False)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Model, tier and each kind of tokens."""
        return super().get_fields() | {name: _count(required=False) for name in TOKEN_NAMES}


def _turns(**more: Any) -> serializers.ListField:
    return serializers.ListField(child=Turn(), max_length=wire.MAX_TURNS, **more)


def _tags(**more: Any) -> serializers.ListField:
    tag = serializers.RegexField("^[^=]+=.*$", max_length=wire.MAX_TAG_LENGTH)
    return serializers.ListField(child=tag, max_length=wire.MAX_TAGS, **more)


# What the document shows of a field's type; what a field allows is added to each.
_SHOWN: dict[CusFieldType, Callable[..., serializers.Field[Any, Any, Any, Any]]] = {
    CusFieldType.COUNT: _count,
    CusFieldType.BIG_COUNT: partial(serializers.IntegerField, min_value=0),
    CusFieldType.MOMENT: serializers.DateTimeField,
    CusFieldType.UUID: serializers.UUIDField,
    CusFieldType.FLAG: serializers.BooleanField,
    CusFieldType.OBJECT: serializers.DictField,
    CusFieldType.TURNS: _turns,
    CusFieldType.TAGS: _tags,
}


def _shown(field: CusField) -> serializers.Field[Any, Any, Any, Any]:
    more: dict[str, Any] = {"help_text": field.help} if field.help else {}
    if not field.required:
        more["required"] = False
        if field.nullable:
            more["allow_null"] = True
    if field.type is CusFieldType.CALL_ID:
        return serializers.RegexField(rf"^[!-~]{{1,{field.max_length}}}$", **more)
    if field.type is CusFieldType.TEXT:
        return serializers.CharField(max_length=field.max_length, **more)
    if field.words is not None:
        return serializers.ChoiceField(list(field.words), **more)
    return _SHOWN[field.type](**more)


class UsageRecordSchema(serializers.Serializer[object]):
    """One LLM call. Token kinds other than tokens_in and tokens_out are parts of those two."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """The documented fields of a usage record, as `aos_sdk.cus_fields` describes them."""
        return {field.name: _shown(field) for field in FIELDS if field.documented}


class UsageBatch(serializers.Serializer[object]):
    """A batch of records, and what their process says of itself since it began."""

    records = UsageRecordSchema(many=True)
    process_id = serializers.CharField(max_length=100, required=False, allow_null=True)
    last_sequence = serializers.IntegerField(min_value=0, required=False, allow_null=True)
    dropped = serializers.DictField(
        child=serializers.IntegerField(min_value=0),
        required=False,
        allow_null=True,
        help_text="How many sequences will never come, by reason.",
    )


class SingleResult(serializers.Serializer[object]):
    """What became of the record."""

    status = serializers.ChoiceField(["accepted", "duplicate"])
    id = serializers.UUIDField(help_text="The stored row's.")
    call_id = serializers.CharField()


class BypassReportSchema(serializers.Serializer[object]):
    """What one process saw in one window. The first report of a window stands."""

    process_id = serializers.RegexField(r"^[!-~]{1,100}$")
    window_start = serializers.DateTimeField(help_text="With a zone.")
    window_end = serializers.DateTimeField(help_text="With a zone.")
    governed_calls = _count()
    bypassed_calls = _count()
    hosts = serializers.DictField(
        child=_count(),
        required=False,
        help_text=f"Bypassed calls by host; at most {wire.MAX_BYPASS_HOSTS} hosts.",
    )
    sdk = serializers.RegexField(r"^[ -~]{0,100}$", required=False, help_text="Name and version.")


class BypassReportResult(serializers.Serializer[object]):
    """The report as it is stored; the same for each delivery of it."""

    id = serializers.UUIDField()
    process_id = serializers.CharField()
    window_start = serializers.DateTimeField()
    window_end = serializers.DateTimeField()
    governed_calls = serializers.IntegerField()
    bypassed_calls = serializers.IntegerField()
    clock_skew = serializers.BooleanField(help_text="Counted at its receipt instead.")


class RecordResult(serializers.Serializer[object]):
    """A record of a batch that was not plainly accepted."""

    index = serializers.IntegerField()
    call_id = serializers.CharField(allow_blank=True)
    status = serializers.ChoiceField(["duplicate", "conflict", "rejected"])
    code = serializers.CharField(allow_null=True)
    detail = serializers.CharField(allow_null=True)
    attr = serializers.CharField(allow_null=True)


class BatchResult(serializers.Serializer[object]):
    """accepted + duplicates + conflicts + rejected = total."""

    total = serializers.IntegerField()
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    conflicts = serializers.IntegerField()
    rejected = serializers.IntegerField()
    results = RecordResult(many=True)
