"""The filters and answers of reads."""

from datetime import date
from functools import cached_property
from typing import Any

from rest_framework import serializers

from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_wire import CusPolicyResult
from integrations.cus_accounts.time_zones import TimeZoneUnknown, zone_named
from integrations.cus_lifecycle.limits import placed_after
from integrations.cus_web.strict_fields import StrictChoice, StrictInput, StrictMoment, StrictText
from telemetry.cus_analytics.models import CusUsageAnomaly
from telemetry.cus_evidence.models import CusLLMUsage, CusUsageSettlement
from telemetry.cus_reads.records import UsageRecord
from telemetry.cus_reads.summaries import Group
from telemetry.cus_reads.usage_figures import PERCENTILES

PAGE_SIZE = 100
_POLICY_RESULTS = [word.value for word in CusPolicyResult]


class _Text(StrictText):
    """A text that may be stored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, **options)


class _Day(serializers.DateField):
    """A day of our times: others can't be counted with."""

    def to_internal_value(self, value: Any) -> date:
        day = super().to_internal_value(value)
        if not 2000 <= day.year < 3000:
            raise serializers.ValidationError("Give a day such as 2026-11-01.", code="invalid")
        return day


class _ZoneField(StrictText):
    """A time zone by its IANA name; without it, the tenant's own."""

    def __init__(self, **options: Any) -> None:
        text = (
            "Days and months of this time zone, such as Europe/Berlin; by default the tenant's own. "
            "Budgets go by UTC."
        )
        super().__init__(required=False, help_text=text, **options)

    def to_internal_value(self, data: Any) -> Any:
        try:
            return zone_named(str(super().to_internal_value(data)))
        except TimeZoneUnknown as unknown:
            raise serializers.ValidationError(unknown.detail, code="invalid") from None


class _Filters(StrictInput):
    """What all reads have in common."""

    tenant_id = serializers.UUIDField(
        required=False, help_text="For the staff (operators, support, finance), who must name one."
    )
    integration_id = serializers.UUIDField(required=False)
    to = StrictMoment(required=False, help_text="Up to, not including.")

    def get_fields(self) -> dict[str, Any]:
        """The fields, and `from`, which is a keyword of Python and so can't be an attribute."""
        moment = StrictMoment(required=False)
        return placed_after("integration_id", super().get_fields(), {"from": moment})


class _PageFilters(_Filters):
    cursor = serializers.CharField(required=False, help_text="From `next` of the page before.")
    limit = serializers.IntegerField(
        required=False, default=PAGE_SIZE, min_value=1, max_value=PAGE_SIZE
    )


class RecordFilters(_PageFilters):
    """Which records. `from` and `to` bound when records were received: the last 31 days."""

    model = _Text(max_length=100)
    provider = _Text(max_length=50)
    agent_id = _Text(max_length=100)
    session_id = _Text(max_length=100)
    call_id = serializers.RegexField(r"^[!-~]{1,100}$", required=False)
    end_user = _Text(max_length=100)
    tag = _Text(max_length=64, help_text="One tag, as `key=value`.")
    policy_result = StrictChoice(_POLICY_RESULTS, required=False)
    error_code = _Text(max_length=50)


class HourFilters(_PageFilters):
    """Which hours. `from` and `to` bound the beginnings of hours: this month by default."""

    provider = _Text(max_length=50)
    model = _Text(max_length=100)
    agent_id = _Text(max_length=100, allow_blank=True, help_text="Empty: calls without an agent.")
    policy_result = StrictChoice(_POLICY_RESULTS, required=False)


class AnomalyFilters(_PageFilters):
    """Which unusual hours. `from` and `to` bound the beginnings of hours: the last 31 days."""

    subject = StrictChoice([subject.value for subject in CusUsageAnomaly.Subject], required=False)
    name = _Text(max_length=100, help_text="The model or the agent.")


class DayFilters(_PageFilters):
    """Which days, `from` and `to` included: this month by default."""

    zone = _ZoneField()

    def get_fields(self) -> dict[str, Any]:
        """The fields; here `from` and `to` are days."""
        return super().get_fields() | {name: _Day(required=False) for name in ("from", "to")}


class _GroupsField(serializers.CharField):
    """Up to two groups, with commas between them."""

    def __init__(self, **options: Any) -> None:
        words = ", ".join(Group)
        super().__init__(help_text=f"At most two of {words}, with a comma between them.", **options)

    def to_internal_value(self, data: Any) -> Any:
        names = str(super().to_internal_value(data)).split(",")
        unknown = [name for name in names if name not in list(Group)]
        if unknown:
            raise serializers.ValidationError(f"Group by {', '.join(Group)}, not by {unknown[0]}.")
        if len(names) > 2 or len(set(names)) < len(names):
            raise serializers.ValidationError("Group by at most two different things.")
        return [Group(name) for name in names]


class SummaryFilters(_Filters):
    """What to sum. `from` and `to` bound when calls occurred: this month by default."""

    group_by = _GroupsField(required=False)
    zone = _ZoneField()
    session = _Text(
        max_length=100, help_text="A session of `integration_id`, within 7 days at most."
    )


def _sum(text: str = "", **more: Any) -> serializers.IntegerField:
    return serializers.IntegerField(help_text=text, **more)


class FiguresOutput(serializers.Serializer[object]):
    """Figures of usage, those of settlements included. Cents and microcents are of US dollars."""

    calls = _sum("Calls that ran.")
    error_calls = _sum("Those of them that name an error.")
    blocked_calls = _sum("Calls that did not run.")
    unpriced_calls = _sum("Calls without a known price.")
    unpriced_unit_calls = _sum("Calls with a billed unit that has no price.")
    unmeasured_calls = _sum("Calls whose usage is still unknown.")
    settled_calls = _sum("Calls whose usage became known later.")
    cost_cents = _sum("As reported, each call rounded up.")
    counted_cents = _sum("What limits in cents count.")
    cost_microcents = _sum("Exact, as recorded.")
    settled_cents = _sum("The part of `cost_cents` that settlements brought.")
    settled_microcents = _sum("The part of `cost_microcents` that settlements brought.")
    correction_microcents = _sum("What later corrections add; negative if prices were too high.")
    corrected_microcents = _sum("Exact, as corrected.")
    rounding_microcents = _sum("What rounding adds: counted less exact as recorded.")
    provisional_cents = _sum("What budgets count of calls whose usage is still unknown.")
    provisional_microcents = _sum()
    provisional_tokens = _sum()
    avg_latency_ms = _sum(allow_null=True)
    max_latency_ms = _sum(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        """The figures, each kind of tokens, and percentiles of latency."""
        tokens = {name: _sum() for name in TOKEN_NAMES}
        latencies = {f"p{percent}_latency_ms": _sum(allow_null=True) for percent in PERCENTILES}
        return super().get_fields() | tokens | latencies

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """The figures as they are: JSON can hold all of them, and a page has thousands."""
        names = self._names
        return {name: value for name, value in instance.items() if name in names}

    @cached_property
    def _names(self) -> frozenset[str]:
        # Once for all groups: to ask the fields takes longer than to copy the figures.
        return frozenset(self.fields)


class HourOutput(FiguresOutput):
    """An hour of an integration, provider, model, agent, outcome and set of tags."""

    hour = serializers.DateTimeField(help_text="Its first moment (UTC).")
    integration_id = serializers.UUIDField()
    provider = serializers.CharField()
    model = serializers.CharField()
    agent_id = serializers.CharField(allow_blank=True, help_text="Empty: the calls named none.")
    policy_result = serializers.ChoiceField(_POLICY_RESULTS)
    has_error = serializers.BooleanField()
    tags = serializers.ListField(child=serializers.CharField(), help_text="Texts `key=value`.")
    computed_at = serializers.DateTimeField()


class HoursPage(serializers.Serializer[object]):
    """A page of hours."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = HourOutput(many=True)


class AnomalyOutput(serializers.ModelSerializer[CusUsageAnomaly]):
    """An hour (UTC) that cost more than five times what its weekday and hour usually cost."""

    text = serializers.CharField(help_text='Such as "14 times its usual Tuesday".')

    class Meta:
        model = CusUsageAnomaly
        fields = [
            *("hour", "integration_id", "subject", "name", "cost_microcents", "usual_microcents"),
            *("weeks", "text", "found_at"),
        ]
        extra_kwargs = {
            "hour": {"help_text": "Its first moment (UTC)."},
            "name": {"help_text": "The model or agent; empty for an integration."},
            "cost_microcents": {"help_text": "Exact, settlements included; grows with the hour."},
            "usual_microcents": {"help_text": "The median of the weeks before."},
            "weeks": {"help_text": "So many weeks make up the median."},
        }


class AnomaliesPage(serializers.Serializer[object]):
    """A page of unusual hours."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = AnomalyOutput(many=True)


class DayOutput(FiguresOutput):
    """A day (UTC) of an integration."""

    date = serializers.DateField()
    integration_id = serializers.UUIDField()
    computed_at = serializers.DateTimeField()


class DaysPage(serializers.Serializer[object]):
    """A page of days."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    zone = serializers.CharField(help_text="The time zone of the days.")
    results = DayOutput(many=True)


class GroupOutput(FiguresOutput):
    """A group's figures; it has those of the fields below that are grouped by."""

    integration = serializers.UUIDField(required=False)
    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    agent = serializers.CharField(required=False, help_text="Empty: the calls named none.")
    policy_result = serializers.ChoiceField(_POLICY_RESULTS, required=False)
    hour = serializers.DateTimeField(required=False)
    day = serializers.DateField(required=False)


class SummaryOutput(serializers.Serializer[object]):
    """Sums of a period, by when calls occurred."""

    to = serializers.DateTimeField()
    zone = serializers.CharField(help_text="The time zone of days and of the month.")
    computed_to = serializers.DateTimeField(
        allow_null=True, help_text="Whole hours include what was received until then."
    )
    waiting_hours = serializers.IntegerField(
        help_text="Hours of the period that the next run of the rollup computes."
    )
    totals = FiguresOutput(help_text="Of all groups.")
    groups = GroupOutput(many=True, help_text="Times in their order; else the dearest first.")
    groups_are_cut = serializers.BooleanField(help_text="There are more groups than are listed.")

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


class SettlementOutput(serializers.ModelSerializer[CusUsageSettlement]):
    """What a call used, once that became known."""

    class Meta:
        model = CusUsageSettlement
        fields = [
            *("id", "created_at", "call_id", "model", *TOKEN_NAMES, "tokens_total"),
            *("service_tier", "billed_units", "turns", "cost_cents", "counted_cents"),
            *("cost_microcents", "pricing", "pricing_version", "price_id", "unpriced_units"),
        ]


# What the decision log shows, and what only ingest needs.
_NOT_SHOWN = {"decision", "counted_cents"}


class _RowOutput(serializers.ModelSerializer[CusLLMUsage]):
    metadata = serializers.DictField()
    billed_units = serializers.DictField(allow_null=True)
    turns = serializers.ListField(child=serializers.DictField(), allow_null=True)
    tags = serializers.ListField(child=serializers.CharField(), allow_null=True)
    unpriced_units = serializers.ListField(child=serializers.CharField(), allow_null=True)
    flags = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = CusLLMUsage
        fields = [field.name for field in CusLLMUsage._meta.fields if field.name not in _NOT_SHOWN]


class RecordOutput(_RowOutput):
    """A record as it was stored, with its settlement and corrections."""

    counted_cents = serializers.IntegerField(help_text="What limits in cents count of it.")
    correction_microcents = serializers.IntegerField()
    corrected_microcents = serializers.IntegerField(help_text="Exact, as settled and corrected.")
    settlement = SettlementOutput(allow_null=True)

    class Meta(_RowOutput.Meta):
        fields = [
            *_RowOutput.Meta.fields,
            *("counted_cents", "correction_microcents", "corrected_microcents", "settlement"),
        ]

    @cached_property
    def _row(self) -> _RowOutput:
        # One for all records: making its fields takes longer than a record.
        return _RowOutput()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        record: UsageRecord = instance
        settlement = self.fields["settlement"]
        return {
            **self._row.to_representation(record.row),
            "counted_cents": record.counted_cents,
            "correction_microcents": record.correction_microcents,
            "corrected_microcents": record.corrected_microcents,
            "settlement": record.settlement and settlement.to_representation(record.settlement),
        }


class RecordsPage(serializers.Serializer[object]):
    """A page of records. It may have fewer than `limit`, or none, and yet a next page."""

    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = RecordOutput(many=True)
