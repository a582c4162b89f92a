"""What the OpenAPI document says of telemetry. Decoding itself is `cus_evidence.records`' business."""

from typing import Any

from rest_framework import serializers

from aos_sdk import cus_wire as wire


def _count(**more: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=0, max_value=wire.INT32_MAX, **more)


class UsageRecordSchema(serializers.Serializer[object]):
    """One LLM call. Token kinds other than tokens_in and tokens_out are parts of those two."""

    call_id = serializers.RegexField(r"^[!-~]{1,100}$", help_text="Idempotency key.")
    integration_id = serializers.UUIDField(required=False, allow_null=True)
    model = serializers.CharField(max_length=wire.MAX_MODEL_LENGTH)
    tokens_in = _count()
    tokens_out = _count()
    cost_cents = _count(required=False, allow_null=True)
    tokens_cached = _count(required=False)
    tokens_cache_write = _count(required=False)
    tokens_cache_write_1h = _count(required=False)
    tokens_reasoning = _count(required=False)
    tokens_audio_in = _count(required=False)
    tokens_audio_out = _count(required=False)
    tokens_image_in = _count(required=False)
    tokens_total = _count(required=False, allow_null=True)
    timestamp = serializers.DateTimeField(help_text="Start of the call, with a zone.")
    provider = serializers.CharField(max_length=50, required=False, allow_null=True)
    session_id = serializers.CharField(max_length=100, required=False, allow_null=True)
    agent_id = serializers.CharField(max_length=100, required=False, allow_null=True)
    latency_ms = _count(required=False, allow_null=True)
    policy_result = serializers.ChoiceField(list(wire.CusPolicyResult), required=False)
    error_code = serializers.CharField(max_length=50, required=False, allow_null=True)
    error_message = serializers.CharField(max_length=1000, required=False, allow_null=True)
    metadata = serializers.DictField(required=False)
    operation = serializers.ChoiceField(list(wire.CusOperation), required=False)
    stream = serializers.BooleanField(required=False)
    service_tier = serializers.CharField(max_length=50, required=False, allow_null=True)
    billed_units = serializers.DictField(required=False, allow_null=True)
    pricing_version = serializers.CharField(max_length=100, required=False, allow_null=True)
    process_id = serializers.CharField(max_length=100, required=False, allow_null=True)
    sequence = serializers.IntegerField(min_value=0, required=False, allow_null=True)
    lease_id = serializers.UUIDField(required=False, allow_null=True)
    degraded = serializers.BooleanField(required=False)
    decision = serializers.DictField(
        required=False,
        allow_null=True,
        help_text="What the SDK decided by itself (leased, degraded).",
    )


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
