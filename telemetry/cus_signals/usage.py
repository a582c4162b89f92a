"""Counters of calls, tokens and costs, from the totals for life."""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import add
from typing import NamedTuple

from django.conf import settings
from django.db import connection, transaction

from aos_sdk.cus_fields import TOKEN_KINDS
from telemetry.cus_evidence.outcomes import OTHER
from telemetry.cus_signals.exposition import (
    SHOWN,
    CusFamily,
    counter,
    dollars,
    escaped,
    gauge,
    labels_of,
)
from telemetry.cus_sums import execute_sums

_LOCK_KEY = 0x6375735F6D73  # "cus_ms"


def _rest(whole: str) -> str:
    """SQL for the tokens of a kind that are in no part of it, so that kinds are disjoint (M8)."""
    rest = f"cus_sum({whole})"
    for kind in TOKEN_KINDS:
        if kind.part_of == whole:
            # One by one: absurd amounts would overflow a difference that is far below 0.
            rest = f"greatest({rest} - cus_sum({kind.name}), 0)"
    return rest


# The label `token_type`, and its sum.
_TOKENS = {
    {"tokens_in": "input", "tokens_out": "output"}.get(
        kind.name, kind.name.removeprefix("tokens_")
    ): _rest(kind.name)
    for kind in TOKEN_KINDS
}
_MONEY = ("cost_cents", "cost_microcents")
# By integration alone: metric, its total, and its help text. Counters count rows as recorded.
_COUNTERS = (
    ("cus_llm_unpriced_calls_total", "unpriced", "Calls whose model has no known price."),
    (
        "cus_llm_unpriced_unit_calls_total",
        "unpriced_unit_calls",
        "Calls with a billed unit that has no price.",
    ),
    (
        "cus_llm_unmeasured_calls_total",
        "unmeasured",
        "Calls whose usage was unknown when they came.",
    ),
    (
        "cus_llm_settled_calls_total",
        "settled",
        "Unmeasured calls whose usage became known later.",
    ),
    ("cus_llm_cost_mismatch_total", "cost_mismatches", "Calls whose reported cost is not ours."),
    (
        "cus_llm_tokens_mismatch_total",
        "tokens_mismatches",
        "Calls whose kinds of tokens do not add up.",
    ),
    (
        "cus_llm_cost_counted_cents_total",
        "counted_cents",
        "What limits in cents count: the greater of reported and our own, call by call.",
    ),
    ("cus_enforcement_overrun_tokens_total", "overrun_tokens", "Tokens beyond what was held."),
    (
        "cus_enforcement_overrun_microcents_total",
        "overrun_microcents",
        "Cost beyond what was held, in millionths of a cent.",
    ),
)
# Gauges: corrections and settlements lower them, which a counter never does.
_GAUGES = (
    (
        "cus_llm_cost_correction_microcents",
        "correction_microcents",
        "What later adjustments add to the exact cost as recorded.",
    ),
    (
        "cus_llm_provisional_microcents",
        "provisional_microcents - released_microcents",
        "What budgets count of calls whose usage is still unknown.",
    ),
)
_SUMS = (
    "cus_sum(calls)",
    *_TOKENS.values(),
    *(f"cus_sum({name})" for name in (*_MONEY, *(total for _, total, _ in (*_COUNTERS, *_GAUGES)))),
)
_NOTHING = (0,) * len(_SUMS)
# Models without series of their own are one row, whose provider and model are null. So is an
# integration without a call, and all its sums are null, too.
# Summed by model first: the planner then sorts no row of a shard.
_TOTALS = f"""
SELECT integration.tenant_id::text, integration.id::text, total.provider, total.model, total.models,
    {", ".join(f"total.sum_{number}" for number in range(len(_SUMS)))}
FROM cus_integrations AS integration LEFT JOIN (
    SELECT tenant_id, integration_id, series.provider, series.model,
        count(*) FILTER (WHERE series.model IS NULL AND by_model.model <> '{OTHER}') AS models,
        {", ".join(f"cus_sum(sum_{number}) AS sum_{number}" for number in range(len(_SUMS)))}
    FROM (
        SELECT tenant_id, integration_id, provider, model,
            {", ".join(f"{text} AS sum_{number}" for number, text in enumerate(_SUMS))}
        FROM cus_lifetime_totals GROUP BY 1, 2, 3, 4
    ) AS by_model LEFT JOIN cus_model_series AS series
        USING (tenant_id, integration_id, provider, model)
    GROUP BY tenant_id, integration_id, series.provider, series.model
) AS total ON (total.tenant_id, total.integration_id) = (integration.tenant_id, integration.id)
WHERE {SHOWN}
"""  # noqa: S608  (the names are this module's own)
# Gives models that have no series of their own one each, as long as there is room. Never removed,
# so no model moves; where an integration is full, its further models need no row and no place.
_GIVE_SERIES = """
WITH unnamed AS (
    SELECT tenant_id, integration_id, provider, model FROM cus_lifetime_totals
    WHERE model <> %(other)s
    EXCEPT SELECT tenant_id, integration_id, provider, model FROM cus_model_series
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY tenant_id, integration_id ORDER BY provider, model)
        + coalesce(models, 0) AS place
    FROM unnamed LEFT JOIN (
        SELECT tenant_id, integration_id, count(*) AS models FROM cus_model_series GROUP BY 1, 2
    ) AS named USING (tenant_id, integration_id)
), with_room AS (
    SELECT *, row_number() OVER (ORDER BY place, tenant_id, integration_id)
        + (SELECT count(*) FROM cus_model_series) AS place_of_all
    FROM placed WHERE place <= %(of_integration)s
)
INSERT INTO cus_model_series (tenant_id, integration_id, provider, model)
SELECT tenant_id, integration_id, provider, model FROM with_room WHERE place_of_all <= %(of_all)s
"""


class _Total(NamedTuple):
    """The sums of a model that has series of its own, or of all others of an integration."""

    # The labels of the integration's series.
    whose: str
    provider: str
    model: str
    # How many models share the series; 0 for a model with series of its own.
    sharing: int
    sums: Sequence[int]

    @property
    def is_other(self) -> bool:
        return self.provider == self.model == OTHER

    @property
    def labels(self) -> str:
        """The labels of the model's series."""
        return f'{self.whose},provider="{escaped(self.provider)}",model="{escaped(self.model)}"'


def usage_families() -> Iterator[CusFamily]:
    """What calls took and cost, by model and by integration."""
    totals = _totals()
    if _lacks_series(totals):
        give_series()
        totals = _totals()
    yield from _by_model(totals)
    yield from _by_integration(totals)


def give_series() -> None:
    """Give models series of their own while there is room (CUS_METRICS_MODELS, …_IN_ALL)."""
    with transaction.atomic(), connection.cursor() as cursor:
        # One at a time, or two scrapes at once would give more than there is room for.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
        cursor.execute(
            _GIVE_SERIES,
            {
                "of_integration": settings.CUS_METRICS_MODELS,
                "other": OTHER,
                "of_all": settings.CUS_METRICS_MODELS_IN_ALL,
            },
        )


def _totals() -> list[_Total]:
    """All totals; each integration has one of `other`, so that its series are there from the start.

    Otherwise `increase()` over the sum of an integration would miss the first calls.
    """
    totals = []
    whole: dict[str, bool] = {}
    with connection.cursor() as cursor:
        execute_sums(cursor, _TOTALS)
        for tenant_id, integration_id, provider, model, sharing, *sums in cursor.fetchall():
            whose = labels_of(tenant_id, integration_id)
            if provider is not None:
                totals.append(_Total(whose, provider, model, 0, sums))
                whole.setdefault(whose, False)
                continue
            whole[whose] = True
            counted = _NOTHING if sharing is None else sums
            totals.append(_Total(whose, OTHER, OTHER, sharing or 0, counted))
    lacking = [whose for whose, has_other in whole.items() if not has_other]
    return totals + [_Total(whose, OTHER, OTHER, 0, _NOTHING) for whose in lacking]


def _lacks_series(totals: Sequence[_Total]) -> bool:
    """Whether there is room for series of a model that has none of its own."""
    own = Counter(total.whose for total in totals if total.model != OTHER)
    if own.total() >= settings.CUS_METRICS_MODELS_IN_ALL:
        return False
    most = settings.CUS_METRICS_MODELS
    return any(total.sharing and own[total.whose] < most for total in totals)


def _by_model(totals: Sequence[_Total]) -> Iterator[CusFamily]:
    calls = counter("cus_llm_calls_total", "LLM calls that ran, without blocked calls.")
    tokens = counter("cus_llm_tokens_total", "Tokens; no token is in two types.")
    cents = counter("cus_llm_cost_cents_total", "Cost as reported, each call rounded up to a cent.")
    exact = counter("cus_llm_cost_microcents_total", "Exact cost, in millionths of a cent.")
    cost = counter("cus_llm_cost_dollars_total", "Exact cost, in dollars.")
    others = gauge("cus_llm_other_models", 'Models that share the series with model="other".')
    labels = [total.labels for total in totals]
    made, *counts = zip(*(total.sums for total in totals), strict=True) if totals else [()]
    whole = [total for total in totals if total.is_other]
    calls.add_all(labels, made)
    starts = [total.is_other for total in totals]
    for name, column in zip(_TOKENS, counts, strict=False):
        # The series of `other` starts each type's sum at 0.
        shown = [
            count if count or start else None for count, start in zip(column, starts, strict=True)
        ]
        tokens.add_all(labels, shown, f',token_type="{name}"')
    if totals:
        rounded, microcents = counts[len(_TOKENS) : len(_TOKENS) + len(_MONEY)]
        cents.add_all(labels, rounded)
        exact.add_all(labels, microcents)
        cost.add_all(labels, map(dollars, microcents))
    others.add_all([total.whose for total in whole], [total.sharing for total in whole])
    yield from (calls, tokens, cents, exact, cost, others)


def _by_integration(totals: Sequence[_Total]) -> Iterator[CusFamily]:
    families = [counter(name, says) for name, _, says in _COUNTERS]
    families += [gauge(name, says) for name, _, says in _GAUGES]
    sums: dict[str, Sequence[int]] = {}
    for total in totals:
        own, before = total.sums[-len(families) :], sums.get(total.whose)
        sums[total.whose] = own if before is None else [*map(add, before, own)]
    for number, family in enumerate(families):
        family.add_all(sums, [own[number] for own in sums.values()])
    yield from families
