"""Filters of the console's lists of calls, and of lists of rows that name a call."""

import uuid
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, cast

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.permissions import shown_tenant
from integrations.cus_console.filters import (
    CusChoiceFilter,
    CusReceivedFilter,
    CusTextFilter,
    FilterRefused,
    choice,
    since,
    yes_or_no,
)
from telemetry.cus_evidence.filters import CALL_FILTERS, calls_with, of_calls, of_usage
from telemetry.cus_evidence.models import CusLLMUsage

_MICROCENTS_PER_DOLLAR = 100 * MICROCENTS_PER_CENT
_MOST_DOLLARS = 1_000_000


class _CallFilter(CusTextFilter):
    """A box for the whole value of one fact of a call."""

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        calls = calls_with(self.parameter_name, text, _tenants_of(request))
        if rows.model is CusLLMUsage:
            return rows.filter(calls)
        if hasattr(rows.model, "usage_id"):
            return rows.filter(of_usage(calls))
        start = since(request.GET.get(CusReceivedFilter.parameter_name))
        return rows.filter(of_calls(calls, start))


def _tenants_of(request: HttpRequest) -> Iterable[uuid.UUID]:
    own = shown_tenant(cast("CusUser", request.user))
    return [own] if own else CusTenant.objects.values_list("id", flat=True)


def _fact_filters() -> Iterator[type[_CallFilter]]:
    for name, title in CALL_FILTERS.items():
        yield type(f"CusFilterBy_{name}", (_CallFilter,), {"parameter_name": name, "title": title})


FACT_FILTERS = tuple(_fact_filters())


class CusOutcomeFilter(CusChoiceFilter):
    """How a call ended, as `outcome_of` says."""

    title, parameter_name = "outcome", "outcome"
    offered = (("ok", "ok"), ("warned", "warned"), ("failed", "failed"), ("blocked", "blocked"))

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        no_error = Q(error_code__isnull=True) | Q(error_code="")
        conditions = {
            "ok": Q(policy_result="allowed") & no_error,
            "warned": Q(policy_result="warned") & no_error,
            "failed": ~Q(policy_result="blocked") & ~no_error,
            "blocked": Q(policy_result="blocked"),
        }
        return rows.filter(conditions[value])


class CusFlagFilter(CusTextFilter):
    """What was noticed when the record came in: a flag, or the part of a flag before its colon."""

    title, parameter_name = "flag (any: *)", "flag"

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        if text == "*":
            return rows.exclude(flags=[])
        # A flag on a field is written "cut:metadata"; records have few flags.
        begins = (Q((f"flags__{place}__startswith", f"{text}:")) for place in range(_MOST_FLAGS))
        return rows.filter(Q.create([Q(flags__contains=[text]), *begins], connector=Q.OR))


_MOST_FLAGS = 5


class CusCostFilter(CusTextFilter):
    """Calls whose exact cost, as recorded or settled, is above an amount."""

    title, parameter_name = "cost above (US dollars)", "cost_above"

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any], text: str) -> QuerySet[Any]:
        try:
            dollars = Decimal(text.removeprefix("$"))
        except InvalidOperation:
            dollars = Decimal("NaN")
        if not dollars.is_finite() or not 0 <= dollars <= _MOST_DOLLARS:
            refusal = "“Cost above” takes US dollars such as 0.05: the list is shown without it."
            raise FilterRefused(self.parameter_name, refusal)
        least = int(dollars * _MICROCENTS_PER_DOLLAR)
        is_settled = Q(pricing=CusLLMUsage.Pricing.UNMEASURED, settled_microcents__gt=least)
        return rows.filter(Q(cost_microcents__gt=least) | is_settled)


def _text(name: str, title: str) -> type[CusTextFilter]:
    return type(f"CusTextOf_{name}", (CusTextFilter,), {"parameter_name": name, "title": title})


# For lists of usage records alone.
USAGE_FILTERS = (
    _text("model", "model"),
    _text("provider", "provider"),
    CusOutcomeFilter,
    _text("error_code", "error"),
    choice("pricing", "price from", CusLLMUsage.Pricing.choices),
    CusFlagFilter,
    CusCostFilter,
    yes_or_no("degraded", "degraded"),
)
