"""What month close and invoice check take and give."""

from typing import Any

from rest_framework import serializers

from integrations.cus_web.strict_fields import StrictChoice, StrictInput, StrictInteger, StrictText
from telemetry.cus_reads.serializers import FiguresOutput
from telemetry.cus_statements.invoices import InvoiceCheck
from telemetry.cus_statements.models import CusMonthStatement
from telemetry.cus_statements.service import is_intact

# Ten billion dollars.
_MOST_CENTS = 10**12
_USD = "USD"


class TenantQuery(StrictInput):
    """Whose month it is."""

    tenant_id = serializers.UUIDField(
        required=False, help_text="For the staff (operators, support, finance), who must name one."
    )


class StatementFigures(FiguresOutput):
    """Figures of what the month received: records, settlements and corrections."""

    def get_fields(self) -> dict[str, Any]:
        """The figures of usage without latencies."""
        fields = super().get_fields()
        return {name: field for name, field in fields.items() if "latency" not in name}


class StatementGroup(StatementFigures):
    """The figures of an integration, provider, model and agent."""

    integration_id = serializers.UUIDField()
    provider = serializers.CharField(allow_blank=True)
    model = serializers.CharField(allow_blank=True)
    agent_id = serializers.CharField(allow_blank=True, help_text="Empty: the calls named none.")


class StatementOutput(serializers.Serializer[object]):
    """A closed month."""

    id = serializers.UUIDField()
    month = serializers.CharField(help_text="Such as 2026-11, in UTC.")
    closed_at = serializers.DateTimeField()
    closed_by = serializers.UUIDField(allow_null=True, help_text="The person's id.")
    digest = serializers.CharField(help_text="The seal: a keyed SHA-256 over all of it.")
    is_intact = serializers.BooleanField(help_text="The statement is as it was sealed.")
    totals = StatementFigures()
    groups = StatementGroup(many=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        statement: CusMonthStatement = instance
        names = ("id", "closed_at", "closed_by", "digest", "totals", "groups")
        fields = {name: getattr(statement, name) for name in names}
        month = f"{statement.month:%Y-%m}"
        return dict(
            super().to_representation(fields | {"month": month, "is_intact": is_intact(statement)})
        )


class InvoiceInput(StrictInput):
    """The total of a provider's invoice for an integration's month."""

    integration_id = serializers.UUIDField()
    total_cents = StrictInteger(max_value=_MOST_CENTS)
    currency = StrictChoice([_USD], default=_USD)
    note = StrictText(max_length=500, required=False, allow_blank=True)


class _Calls(serializers.Serializer[object]):
    """A number of calls."""

    calls = serializers.IntegerField()


class _Amount(serializers.Serializer[object]):
    """An amount of US dollars."""

    microcents = serializers.IntegerField()


class _Unmeasured(_Calls, _Amount):
    """Calls of unknown usage, and what budgets count for them."""


class _Records(serializers.Serializer[object]):
    """A number of records."""

    records = serializers.IntegerField()


class Explanations(serializers.Serializer[object]):
    """What may explain the difference, each with its amount or count."""

    unmeasured = _Unmeasured(help_text="Calls of unknown usage, at what budgets count for them.")
    unpriced = _Calls(help_text="Calls without a known price.")
    unpriced_units = _Calls(help_text="Calls with a billed unit that has no price.")
    bypass = _Calls(help_text="Calls that SDKs saw pass by, and did not record.")
    gaps = _Records(help_text="Missing records of the processes that reported in the month.")
    corrections = _Amount(help_text="What corrections add; a part of corrected_microcents.")
    rounding = _Amount(help_text="What rounding adds to the cents that limits count.")
    receipt = _Amount(
        help_text="Calls of the month less what its closed statement has: received in other months."
    )


class InvoiceOutput(serializers.Serializer[object]):
    """An integration's month: the provider's invoice beside the usage."""

    integration_id = serializers.UUIDField()
    integration_name = serializers.CharField()
    currency = serializers.ChoiceField([_USD])
    total_cents = serializers.IntegerField(allow_null=True, help_text="Null: none was entered.")
    note = serializers.CharField(allow_blank=True)
    entered_at = serializers.DateTimeField(allow_null=True)
    entered_by = serializers.UUIDField(allow_null=True)
    cost_microcents = serializers.IntegerField(help_text="Exact, as recorded, by occurrence.")
    corrected_microcents = serializers.IntegerField(help_text="Exact, as corrected.")
    statement_microcents = serializers.IntegerField(
        allow_null=True, help_text="In the closed statement, as corrected. Null: not closed."
    )
    difference_microcents = serializers.IntegerField(
        allow_null=True, help_text="The invoice less the exact cost as corrected."
    )
    unexplained_microcents = serializers.IntegerField(
        allow_null=True, help_text="The difference less the amount of unmeasured calls."
    )
    explanations = Explanations()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        check: InvoiceCheck = instance
        invoice = check.invoice
        entered = ("total_cents", "entered_at", "entered_by")
        computed = ("corrected_microcents", "statement_microcents", "difference_microcents")
        fields: dict[str, Any] = {
            "integration_id": check.integration.id,
            "integration_name": check.integration.name,
            "currency": _USD,
            "note": invoice.note if invoice else "",
            "cost_microcents": check.usage.cost_microcents if check.usage else 0,
            **{name: getattr(invoice, name, None) for name in entered},
            **{name: getattr(check, name) for name in computed},
            "unexplained_microcents": check.unexplained_microcents,
            "explanations": check.explanations,
        }
        return dict(super().to_representation(fields))


class InvoicesOutput(serializers.Serializer[object]):
    """The invoices of a month."""

    month = serializers.CharField()
    closed_at = serializers.DateTimeField(allow_null=True, help_text="Null: not closed.")
    invoices = InvoiceOutput(many=True)
