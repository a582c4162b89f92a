"""`python -m observability.cus_dashboards`: write Grafana's dashboards as JSON.

Dashboards answer "are we okay, drifting, or failing?"; every panel links to the console, which
explains (§16.3). There is no panel about single calls.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from grafana_foundation_sdk.builders import (
    bargauge,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

FOLDER = Path(__file__).parent / "grafana" / "dashboards"
# What people call an integration, added to its series.
_NAMES = "* on (tenant_id, integration_id) group_left (tenant, integration) cus_integration_info"
_BOTH = "{{tenant}} / {{integration}}"
_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${source}")
_WIDE, _HALF, _QUARTER = 24, 12, 6
_HEIGHT = 8
_LATENCIES = (0.5, 0.95, 0.99)
_HEALTH = (("Unknown", "text"), ("Healthy", "green"), ("Degraded", "yellow"), ("Failing", "red"))

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel | bargauge.Panel


class Query(NamedTuple):
    """An expression of Prometheus, and what its series are called."""

    expr: str
    legend: str


def overview() -> dashboard.Dashboard:
    """All tenants: is anything wrong, and whose is it?"""
    home = _link("${console}/admin/")
    of_tenant = _link("${console}/console/tenants/${__field.labels.tenant_id}")
    of_one = _link("${console}/console/integrations/${__field.labels.integration_id}/activity")
    board = _board("cus-overview", "AOS: all tenants").with_row(dashboard.Row("Are we okay?"))
    tenant_name = (
        "* on (tenant_id) group_left (tenant) max by (tenant_id, tenant) (cus_integration_info)"
    )
    panels = (
        _stat("Cost of the last 24 hours", "currencyUSD", home, "sum(increase(integration:cus_llm_cost_dollars:sum[24h]))"),
        _stat("Calls of the last 24 hours", "short", home, "sum(increase(integration:cus_llm_calls:sum[24h]))"),
        _stat("Blocked checks of the last 24 hours", "short", home, "sum(increase(integration:cus_enforcement_blocked:sum[24h]))"),
        _stat("Alerts firing", "short", home, 'count(ALERTS{alertstate="firing",alertname=~"Cus.+"}) or vector(0)'),
        _lines("Cost an hour, by tenant", "currencyUSD", of_tenant, Query(f"sum by (tenant_id) (rate(integration:cus_llm_cost_dollars:sum[$__rate_interval])) * 3600 {tenant_name}", "{{tenant}}"), links=home),
        _lines("Calls a second, by tenant", "reqps", of_tenant, Query(f"sum by (tenant_id) (rate(integration:cus_llm_calls:sum[$__rate_interval])) {tenant_name}", "{{tenant}}"), links=home),
        _bars("Budget used: the ten fullest", "percentunit", of_one, Query(f"topk(10, cus_integration_budget_utilization_ratio) {_NAMES}", _BOTH), links=home, warn=0.8, alarm=0.95),
        _bars("Coverage: the ten lowest", "percentunit", of_one, Query(f"bottomk(10, cus_integration_coverage_ratio) {_NAMES}", _BOTH), links=home),
        _lines("Decisions a second, by result", "reqps", home, Query("sum by (result) (rate(cus_enforcement_decisions_total[$__rate_interval]))", "{{result}}")),
        _lines("Blocked checks a second, by reason", "reqps", home, Query("sum by (reason) (rate(cus_enforcement_blocked_total[$__rate_interval]))", "{{reason}}")),
        _lines("Integrations by health", "short", home, *(Query(f"count(cus_integration_health_state == {number}) or vector(0)", name) for number, (name, _) in enumerate(_HEALTH))),
        _lines("Failed calls, by tenant", "percentunit", of_tenant, Query(f"sum by (tenant_id) (integration:cus_llm_errors:increase5m) / (sum by (tenant_id) (integration:cus_llm_calls:increase5m) > 0) {tenant_name}", "{{tenant}}"), links=home),
        _lines("Latency of calls", "s", home, *(Query(f"histogram_quantile({share}, sum by (le) (integration:cus_llm_latency_seconds_bucket:rate5m))", f"{share:.0%}") for share in _LATENCIES)),
        _lines("Tokens a second, by type", "short", home, Query("sum by (token_type) (rate(integration:cus_llm_tokens:sum[$__rate_interval])) > 0", "{{token_type}}")),
    )  # fmt: skip
    for panel in panels:
        board = board.with_panel(panel)
    board = board.with_row(dashboard.Row("Are the facts in order?"))
    platform = (
        _stat("Rollup behind", "s", home, "time() - cus_llm_rollup_covered_timestamp_seconds"),
        _stat("Records missing", "short", home, "sum(cus_llm_undeclared_gap_events)"),
        _stat("Months of partitions ahead", "short", home, "min(cus_llm_partitions_ahead_months)"),
        _stat("Totals that differ", "short", home, 'sum(cus_llm_reconcile_differences{kind=~"month_total|lifetime_total"}) or vector(0)'),
        _lines("Jobs waiting, by queue", "short", home, Query("cus_integration_jobs_waiting", "{{queue}}")),
        _lines("Failed runs of jobs an hour", "short", home, Query('sum by (job_name) (increase(cus_integration_job_runs_total{outcome="failed"}[1h]))', "{{job_name}}")),
        _lines("Calls without price or usage, and degraded decisions, an hour", "short", home,
               Query("sum(increase(cus_llm_unpriced_calls_total[1h]))", "unpriced"),
               Query("sum(increase(cus_llm_unmeasured_calls_total[1h]))", "unmeasured"),
               Query("sum(increase(cus_enforcement_degraded_total[1h]))", "degraded"),
               Query("sum(increase(cus_enforcement_contention_total[1h]))", "contention")),
    )  # fmt: skip
    for panel in platform:
        board = board.with_panel(panel)
    return board


def tenant() -> dashboard.Dashboard:
    """One tenant: how its integrations are, and which of them to look at."""
    home = _link("${console}/console/tenants/${tenant}")
    calls = _link("${console}/console/integrations/${__field.labels.integration_id}/activity")
    limits = _link("${console}/console/integrations/${__field.labels.integration_id}/limits")
    of = 'tenant_id="$tenant",integration_id=~"$integration"'
    window = "[$__rate_interval]"

    def named(expr: str) -> Query:
        return Query(f"{expr} {_NAMES}", "{{integration}}")

    def lines(title: str, unit: str, link: dashboard.DashboardLink, *queries: Query) -> Panel:
        return _lines(title, unit, link, *queries, links=home)

    panels = (
        lines("Cost an hour", "currencyUSD", calls, named(f"rate(integration:cus_llm_cost_dollars:sum{{{of}}}{window}) * 3600")),
        lines("Cost of the month, and its forecast", "currencyUSD", limits,
              Query(f"cus_integration_budget_used_cents{{{of}}} / 100 {_NAMES}", "{{integration}}"),
              Query(f"cus_integration_cost_forecast_cents{{{of}}} / 100 {_NAMES}", "{{integration}}, expected")),
        _bars("Budget used", "percentunit", limits, named(f"cus_integration_budget_utilization_ratio{{{of}}}"), links=home, warn=0.8, alarm=0.95),
        _bars("Tokens used", "percentunit", limits, named(f"cus_integration_token_utilization_ratio{{{of}}}"), links=home, warn=0.8, alarm=0.95),
        _bars("Calls of the last minute, of the rate limit", "percentunit", limits, named(f"cus_integration_rate_utilization_ratio{{{of}}}"), links=home, warn=0.8, alarm=1.0),
        lines("Decisions a second, by result", "reqps", home, Query(f"sum by (result) (rate(cus_enforcement_decisions_total{{{of}}}{window}))", "{{result}}")),
        lines("Blocked checks a second, by reason", "reqps", home, Query(f"sum by (reason) (rate(cus_enforcement_blocked_total{{{of}}}{window}))", "{{reason}}")),
        lines("Policy results a second", "reqps", home, Query(f"sum by (result) (rate(cus_policy_results_total{{{of}}}{window}))", "{{result}}")),
        _timeline("Health", calls, home, named(f"cus_integration_health_state{{{of}}}")),
        lines("Calls a second", "reqps", calls, named(f"rate(integration:cus_llm_calls:sum{{{of}}}{window})")),
        lines("Calls a second, by model", "reqps", home, Query(f"sum by (provider, model) (rate(cus_llm_calls_total{{{of}}}{window})) > 0", "{{provider}} {{model}}")),
        lines("Tokens a second, by type", "short", home, Query(f"sum by (token_type) (rate(integration:cus_llm_tokens:sum{{{of}}}{window})) > 0", "{{token_type}}")),
        lines("Latency of calls", "s", home, *(Query(f"histogram_quantile({share}, sum by (le) (integration:cus_llm_latency_seconds_bucket:rate5m{{{of}}}))", f"{share:.0%}") for share in _LATENCIES)),
        lines("Failed calls", "percentunit", calls, named(f"integration:cus_llm_errors:ratio_increase5m{{{of}}}")),
        lines("Failed calls a second, by error", "reqps", home, Query(f"sum by (error_code) (rate(cus_llm_errors_total{{{of}}}{window}))", "{{error_code}}")),
        lines("Coverage", "percentunit", calls, named(f"cus_integration_coverage_ratio{{{of}}}")),
        lines("Calls that run", "short", limits, named(f"cus_enforcement_holds{{{of}}}")),
        lines("Records missing", "short", calls, named(f"cus_llm_undeclared_gap_events{{{of}}}")),
    )  # fmt: skip
    board = _board("cus-tenant", "AOS: a tenant")
    for variable in _tenant_variables():
        board = board.with_variable(variable)
    for panel in panels:
        board = board.with_panel(panel)
    return board


DASHBOARDS = {"cus_overview.json": overview, "cus_tenant.json": tenant}


def texts() -> dict[str, str]:
    """Each dashboard's file and its content."""
    return {
        name: json.dumps(make().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, make in DASHBOARDS.items()
    }


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
    return 0


# --- Parts --------------------------------------------------------------------------------------


def _board(uid: str, title: str) -> dashboard.Dashboard:
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description("Situational awareness. What happened and why stands in the console.")
        .tags(["aos"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(_link("${console}/admin/").title("Console").target_blank(True))  # noqa: FBT003
        .with_variable(dashboard.DatasourceVariable("source").type("prometheus"))
        .with_variable(
            dashboard.TextBoxVariable("console")
            .label("Console's address")
            .default_value("http://127.0.0.1:8000")
        )
    )


def _tenant_variables() -> Sequence[dashboard.QueryVariable]:
    def variable(name: str, query: str, words: tuple[str, str]) -> dashboard.QueryVariable:
        text, value = words
        return (
            dashboard.QueryVariable(name)
            .query(f"query_result({query})")
            # Shown by name, and put into expressions by id.
            .regex(f'/{text}="(?<text>[^"]+)|{value}="(?<value>[^"]+)/g')
            .datasource(_SOURCE)
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
        )

    tenants = "group by (tenant, tenant_id) (cus_integration_info)"
    of_tenant = 'group by (integration, integration_id) (cus_integration_info{tenant_id="$tenant"})'
    return (
        variable("tenant", tenants, ("tenant", "tenant_id")),
        variable("integration", of_tenant, ("integration", "integration_id"))
        .multi(True)  # noqa: FBT003
        .include_all(True)  # noqa: FBT003
        .all_value(".+"),
    )


def _link(url: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("View evidence in Console")
        .type(model.DashboardLinkType.LINK)
        .url(url)
        .target_blank(True)  # noqa: FBT003
    )


def _targets(
    queries: Sequence[Query], *, instant: bool = False
) -> list[Builder[variants.Dataquery]]:
    targets: list[Builder[variants.Dataquery]] = []
    for place, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
        target = target.ref_id(chr(ord("A") + place)).datasource(_SOURCE)
        targets.append(target.instant() if instant else target.range())
    return targets


def _lines(
    title: str,
    unit: str,
    link: dashboard.DashboardLink,
    *queries: Query,
    links: dashboard.DashboardLink | None = None,
) -> timeseries.Panel:
    return (
        timeseries.Panel()
        .title(title)
        .unit(unit)
        .min(0)
        .datasource(_SOURCE)
        .targets(_targets(queries))
        .links([links or link])
        .data_links([link])
        .fill_opacity(10)
        .show_points(common.VisibilityMode.NEVER)
        .tooltip(options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .span(_HALF)
        .height(_HEIGHT)
    )


def _stat(title: str, unit: str, link: dashboard.DashboardLink, expr: str) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .graph_mode(common.BigValueGraphMode.NONE)
        .unit(unit)
        .datasource(_SOURCE)
        .targets(_targets([Query(expr, title)], instant=True))
        .links([link])
        .span(_QUARTER)
        .height(_HEIGHT // 2)
    )


def _bars(
    title: str,
    unit: str,
    link: dashboard.DashboardLink,
    query: Query,
    *,
    links: dashboard.DashboardLink,
    warn: float | None = None,
    alarm: float | None = None,
) -> bargauge.Panel:
    steps = [model.Threshold(value=None, color="green")]
    steps += [model.Threshold(value=warn, color="yellow")] if warn else []
    steps += [model.Threshold(value=alarm, color="red")] if alarm else []
    return (
        bargauge.Panel()
        .title(title)
        .unit(unit)
        .min(0)
        .max(1)
        .datasource(_SOURCE)
        .targets(_targets([query], instant=True))
        .thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
        .orientation(common.VizOrientation.HORIZONTAL)
        .links([links])
        .data_links([link])
        .span(_HALF)
        .height(_HEIGHT)
    )


def _timeline(
    title: str, link: dashboard.DashboardLink, links: dashboard.DashboardLink, query: Query
) -> statetimeline.Panel:
    names = {
        str(number): model.ValueMappingResult(text=name, color=color, index=number)
        for number, (name, color) in enumerate(_HEALTH)
    }
    return (
        statetimeline.Panel()
        .title(title)
        .show_value(common.VisibilityMode.NEVER)
        .fill_opacity(70)
        .line_width(0)
        .datasource(_SOURCE)
        .targets(_targets([query]))
        .mappings([model.ValueMap(options=names)])
        .links([links])
        .data_links([link])
        .span(_WIDE)
        .height(_HEIGHT)
    )


if __name__ == "__main__":
    sys.exit(main())
