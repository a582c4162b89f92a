"""A tenant's charges, day by day: usage by kind of tokens, and corrections."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from aos_sdk.cus_cost import get_model_pricing
from aos_sdk.cus_fields import TOKEN_NAMES
from aos_sdk.cus_pricing.rates import CusTokenUsage, disjoint_kinds
from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.limits import month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_analytics.days import start_of
from telemetry.cus_analytics.figures import sums_of, tags_in
from telemetry.cus_focus.columns import Account, Charge, shares
from telemetry.cus_reads.periods import Period
from telemetry.cus_sums import execute_sums

_ONE_DAY = timedelta(days=1)
# In the order of `disjoint_kinds`.
METERS = (
    *("Input Tokens", "Cached Input Tokens", "Cache Write Tokens, 5 Minutes"),
    *("Cache Write Tokens, 1 Hour", "Audio Input Tokens", "Image Input Tokens"),
    *("Output Tokens", "Reasoning Tokens", "Audio Output Tokens"),
)
REQUESTS = "Requests"
_INPUT_DETAILS = 5
_KINDS = (*TOKEN_NAMES, "cost_microcents")
_SUMS = ("calls", *_KINDS, *(f"settled_{name}" for name in _KINDS))


class CusCharges:
    """The charges of one tenant, optionally of one integration."""

    def __init__(self, tenant: CusTenant, integration_id: uuid.UUID | None = None) -> None:
        self.tenant = tenant
        self.integration_id = integration_id
        rows = CusIntegration.objects.filter(tenant=tenant)
        self._names = dict(rows.values_list("id", "name"))

    def of(self, period: Period) -> Iterator[Charge]:
        """Usage that occurred in the period of whole days, and corrections made in it, by day."""
        day = period.start.date()
        while start_of(day) < period.end:
            yield from self._usage(day)
            yield from self._corrections(day)
            day += _ONE_DAY

    def _usage(self, day: date) -> Iterator[Charge]:
        for integration_id, provider, model, tags, *sums in self._read(_USAGE, day):
            start = start_of(day)
            whole = Charge(
                account=self._account(integration_id),
                provider=provider,
                model=model,
                start=start,
                end=start + _ONE_DAY,
                billing=month_of(start),
                microcents=0,
                tags=tuple(tags_in(tags)),
            )
            yield from _by_meter(whole, dict(zip(_SUMS, sums, strict=True)))

    def _corrections(self, day: date) -> Iterator[Charge]:
        """Corrections made on a day, by the day of their calls. The billing period is that of the
        correction; a correction of an earlier period is FOCUS' `Correction`.
        """
        for integration_id, provider, model, tags, occurred, cost in self._read(_CORRECTIONS, day):
            start, billing = start_of(occurred), month_of(start_of(day))
            yield Charge(
                account=self._account(integration_id),
                provider=provider,
                model=model,
                start=start,
                end=start + _ONE_DAY,
                billing=billing,
                microcents=int(cost),
                tags=tuple(tags_in(tags)),
                charge_class="Correction" if start < billing[0] else None,
            )

    def _account(self, integration_id: uuid.UUID) -> Account:
        name = self._names.get(integration_id, "")
        return Account(str(self.tenant.id), self.tenant.name, str(integration_id), name)

    def _read(self, statement: str, day: date) -> list[tuple[Any, ...]]:
        values = {
            "tenant": self.tenant.id,
            "integration": self.integration_id,
            "day": day,
            "start": start_of(day),
            "end": start_of(day + _ONE_DAY),
        }
        with connection.cursor() as cursor:
            execute_sums(cursor, statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _by_meter(whole: Charge, sums: dict[str, int]) -> Iterator[Charge]:
    """A charge for each kind of tokens. Their costs are shares of the exact cost, and add up to it."""
    known = {name: sums[name] + sums[f"settled_{name}"] for name in _KINDS}
    cost = known.pop("cost_microcents")
    counts = disjoint_kinds(CusTokenUsage(**known))
    if not any(counts):
        if cost or sums["calls"]:
            yield replace(whole, microcents=cost, meter=REQUESTS, quantity=sums["calls"])
        return
    split, weights = _weights(whole, counts)
    for meter, count, part in zip(METERS, counts, shares(cost, weights), strict=True):
        if count or part:
            yield replace(whole, microcents=part, split=split, meter=meter, quantity=count)


def _weights(whole: Charge, counts: tuple[int, ...]) -> tuple[str, list[int]]:
    """What the kinds cost at the day's list prices; their tokens, where no price is known."""
    day: datetime = whole.start
    pricing = get_model_pricing(whole.model, day, provider=whole.provider)
    if pricing:
        rates = pricing.rates
        inputs, outputs = rates.details[:_INPUT_DETAILS], rates.details[_INPUT_DETAILS:]
        by_kind = (rates.input, *inputs, rates.output, *outputs)
        weights = [count * rate for count, rate in zip(counts, by_kind, strict=True)]
        if any(weights):
            return "list_prices", weights
    return "tokens", list(counts)


_OF_ONE = "(%(integration)s::uuid IS NULL OR {}.integration_id = %(integration)s)"
_USAGE = f"""
SELECT integration_id, provider, model, tags, {sums_of(_SUMS)} FROM cus_usage_day_groups AS figures
WHERE tenant_id = %(tenant)s AND date = %(day)s AND {_OF_ONE.format("figures")}
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""  # noqa: S608  (the names are this module's own)
_CORRECTIONS = f"""
SELECT added.integration_id, coalesce(usage.provider, '') AS provider,
    coalesce(usage.model, '') AS model, coalesce(usage.tags::text, '') AS tags, (added.occurred_at AT TIME ZONE 'UTC')::date AS occurred,
    sum(added.difference_microcents)
FROM cus_cost_adjustments AS added LEFT JOIN LATERAL (
    SELECT * FROM cus_llm_usage AS row WHERE row.tenant_id = added.tenant_id
        AND row.created_at = added.usage_created_at AND row.id = added.usage_id
    OFFSET 0
) AS usage ON true
WHERE added.tenant_id = %(tenant)s AND added.created_at >= %(start)s
    AND added.created_at < %(end)s AND {_OF_ONE.format("added")}
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""  # noqa: S608  (the names are this module's own)
