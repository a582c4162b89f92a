"""Gauges of integrations: state, limits and their use, coverage, forecast, gaps."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_lifecycle.limits import RATE, month_of
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.admissions import ADMITTED_LAST_MINUTE
from telemetry.cus_money.amounts import USED_IN_MONTH, summed
from telemetry.cus_signals.exposition import CusFamily, escaped, gauge, labels_of

_STATUS = {status: number for number, status in enumerate(CusIntegration.Status.values)}
_HEALTH = {state: number for number, state in enumerate(CusIntegration.Health.values)}
_CREDENTIAL = {state: number for number, state in enumerate(CusIntegration.CredentialState.values)}
# The label `enforcement_state` where checks refuse every call, at whatever level (§15.3).
HARD_BLOCK = "hard_block"

_STATES = f"""
SELECT integration.tenant_id::text, integration.id::text, tenant.name, integration.name,
    integration.provider_type, integration.status, integration.health_state,
    integration.credential_state, integration.enforcement_level, integration.budget_basis,
    integration.budget_limit_cents, integration.token_limit_month, integration.rate_limit_rpm,
    integration.max_live_holds, (integration.coverage_percent / 100)::float8,
    integration.unproven_calls, forecast.microcents,
    used.cents, used.microcents, used.tokens,
    coalesce(held.calls, 0), coalesce(lease.leases, 0), coalesce(lease.calls, 0),
    coalesce(run.live, 0),
    CASE WHEN integration.{RATE.column} > 0 THEN ({ADMITTED_LAST_MINUTE})::bigint END
FROM cus_integrations AS integration
JOIN cus_tenants AS tenant ON tenant.id = integration.tenant_id
{USED_IN_MONTH}
LEFT JOIN (
    SELECT tenant_id, integration_id, sum(calls)::bigint AS calls FROM cus_hold_sums GROUP BY 1, 2
) AS held ON (held.tenant_id, held.integration_id) = (integration.tenant_id, integration.id)
LEFT JOIN (
    SELECT tenant_id, integration_id, count(*) AS leases, sum(calls)::bigint AS calls
    FROM cus_enforcement_leases WHERE expires_at > now() GROUP BY 1, 2
) AS lease ON (lease.tenant_id, lease.integration_id) = (integration.tenant_id, integration.id)
LEFT JOIN cus_run_limit_counts AS run
    ON (run.tenant_id, run.integration_id) = (integration.tenant_id, integration.id)
LEFT JOIN cus_cost_forecasts AS forecast ON forecast.period = %(period)s AND
    (forecast.tenant_id, forecast.integration_id) = (integration.tenant_id, integration.id)
WHERE integration.deleted_at IS NULL
"""  # noqa: S608  (the names are the product's own)

# Name and help text, in the order in which `_values` gives them.
_GAUGES = (
    ("cus_integration_status", "0 created, 1 enabled, 2 disabled, 3 error."),
    ("cus_integration_health_state", "0 unknown, 1 healthy, 2 degraded, 3 failing."),
    ("cus_integration_credential_state", "0 not checked yet, 1 valid, 2 invalid."),
    (
        "cus_integration_budget_used_cents",
        "What the budget counts of this month (UTC), on the budget's basis.",
    ),
    ("cus_integration_budget_limit_cents", "The monthly budget; 0: no limit."),
    ("cus_integration_budget_utilization_ratio", "Budget used, of the limit; none without one."),
    ("cus_integration_tokens_used_month", "Tokens that the token limit counts of this month."),
    ("cus_integration_token_limit_month", "The monthly limit of tokens; 0: no limit."),
    ("cus_integration_token_utilization_ratio", "Tokens used, of the limit; none without one."),
    (
        "cus_integration_rate_current_rpm",
        "Calls admitted within the last 60 seconds, of an integration with a rate limit.",
    ),
    ("cus_integration_rate_limit_rpm", "The most calls a minute; 0: no limit."),
    ("cus_integration_rate_utilization_ratio", "Calls, of the rate limit; none without one."),
    (
        "cus_integration_coverage_ratio",
        "Governed calls, of all provider calls seen in the last 7 days.",
    ),
    (
        "cus_integration_unproven_calls",
        "Calls claimed as governed until a day ago that have no record.",
    ),
    (
        "cus_integration_cost_forecast_cents",
        "Exact cost of this month that is expected at its end; none with too little history.",
    ),
    ("cus_enforcement_holds", "Calls that were admitted and are not reported."),
    ("cus_enforcement_holds_limit", "The most calls that may be held for at once."),
    ("cus_enforcement_leases", "Leases that are not over."),
    ("cus_enforcement_leased_calls", "Calls that holders of leases may still admit."),
    ("cus_enforcement_budgets_in_code", "Sessions with a budget in code, as last counted."),
)


def integration_families(now: datetime) -> Iterator[CusFamily]:
    """The gauges of all integrations that are not deleted, and what describes these."""
    families = [gauge(name, says) for name, says in _GAUGES]
    info = gauge("cus_integration_info", "What people call an integration, and its provider.")
    state = gauge(
        "cus_enforcement_state", "What checks do at most: the ladder's level, or hard_block."
    )
    with connection.cursor() as cursor:
        cursor.execute(_STATES, {"period": month_of(now)[0].date()})
        rows = cursor.fetchall()
    labels = [labels_of(tenant_id, integration_id) for tenant_id, integration_id, *_ in rows]
    for whose, (_, _, tenant, name, provider, *values) in zip(labels, rows, strict=True):
        names = f'tenant="{escaped(tenant)}",integration="{escaped(name)}"'
        info.add(f'{whose},{names},provider_type="{provider}"', 1)
        state.add(f'{whose},enforcement_state="{_enforcement_state(*values[:4])}"', 1)
    for family, column in zip(
        families, zip(*(_values(*row[5:]) for row in rows), strict=True), strict=False
    ):
        family.add_all(labels, column)
    yield from (info, state, *families)
    yield from _gaps()


def _enforcement_state(status: str, _health: str, credential: str, level: str) -> str:
    closed = status != CusIntegration.Status.ENABLED
    invalid = credential == CusIntegration.CredentialState.INVALID
    return HARD_BLOCK if closed or invalid else level


def _values(  # noqa: PLR0913  (a row's columns)
    status: str,
    health: str,
    credential: str,
    _level: str,
    basis: str,
    budget: int,
    token_limit: int,
    rate_limit: int,
    holds_limit: int,
    coverage: float | None,
    unproven: int | None,
    forecast: int | None,
    cents: int,
    microcents: int,
    tokens: int,
    holds: int,
    leases: int,
    leased: int,
    runs: int,
    admitted: int | None,
) -> tuple[Any, ...]:
    exact = basis == CusIntegration.BudgetBasis.EXACT
    used = microcents / MICROCENTS_PER_CENT if exact else cents
    return (
        _STATUS[status],
        _HEALTH[health],
        _CREDENTIAL[credential],
        used,
        budget,
        used / budget if budget else None,
        tokens,
        token_limit,
        tokens / token_limit if token_limit else None,
        admitted,
        rate_limit,
        admitted / rate_limit if admitted is not None else None,
        coverage,
        unproven,
        None if forecast is None else forecast / MICROCENTS_PER_CENT,
        holds,
        holds_limit,
        leases,
        leased,
        runs,
    )


# --- Gaps ---------------------------------------------------------------------------------------

# As of the last fold. A process that has reported since then may have sent what it announced, so
# only what is missing below its last record counts. Most processes miss nothing, which is seen
# at once.
_GAPS = f"""
SELECT integration.tenant_id::text, integration.id::text,
    {summed("gap.missing")}, {summed("greatest(gap.missing - gap.dropped, 0)")}
FROM cus_integrations AS integration LEFT JOIN (
    SELECT tenant_id, integration_id,
        (SELECT sum(upper(range) - lower(range)) FROM unnest(expected - came) AS range) AS missing,
        (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(dropped)) AS dropped
    FROM (
        SELECT process.tenant_id, process.integration_id, process.dropped, process.came,
            int8multirange(int8range(1, greatest(coalesce(upper(process.came), 1),
                CASE WHEN process.last_seen_at < fold.covered_to
                    THEN process.last_sequence + 1 END))) AS expected
        FROM cus_reporting_processes AS process, cus_sequence_folds AS fold
        WHERE process.last_seen_at > now() - interval '1 day'
        OFFSET 0  -- Otherwise the reasons are summed of processes that miss nothing, too.
    ) AS process WHERE came <> expected
) AS gap ON (gap.tenant_id, gap.integration_id) = (integration.tenant_id, integration.id)
WHERE integration.deleted_at IS NULL GROUP BY 1, 2
"""  # noqa: S608  (the names are the tables' own)


def _gaps() -> Iterator[CusFamily]:
    missing = gauge(
        "cus_llm_gap_events",
        "Records that processes of the last day made and the server lacks.",
    )
    undeclared = gauge(
        "cus_llm_undeclared_gap_events",
        "Missing records that their processes did not declare as given up.",
    )
    with connection.cursor() as cursor:
        cursor.execute(_GAPS)
        for tenant_id, integration_id, every, silent in cursor.fetchall():
            whose = labels_of(tenant_id, integration_id)
            missing.add(whose, every)
            undeclared.add(whose, silent)
    yield from (missing, undeclared)
