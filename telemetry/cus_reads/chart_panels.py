"""Charts of usage: cost, tokens, latency, and the dearest of a kind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from integrations.cus_console.amounts import dollars
from integrations.cus_console.charts import (
    Chart,
    Kind,
    Series,
    Share,
    Unit,
    drawn,
    in_dollars,
    ranking,
)
from integrations.cus_console.panels import with_link
from integrations.cus_integrations.panels import integration_page
from integrations.cus_integrations.scopes import UsageScope, home_scope, scope_of_integration
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_clock import page_now
from telemetry.cus_evidence.panels import calls_page
from telemetry.cus_reads import usage_series
from telemetry.cus_reads.usage_series import CusUsageSeries, DayFigures, Ranked

_OTHERS: Final = "Other"
_NO_NAME: Final = "(no agent named)"
_PERMILLE: Final = 1_000
_NOTHING_YET: Final = (
    "No call was reported in these days. Issue an SDK key, and let the program report with it."
)


# The charts of a page read the same days once.
_kept: WeakKeyDictionary[UsageScope, CusUsageSeries] = WeakKeyDictionary()
# The attribute of a request with the scope of its page.
_SCOPE: Final = "_cus_scope"


def series_of(scope: UsageScope) -> CusUsageSeries:
    """The days of a scope."""
    series = _kept.get(scope)
    if series is None:
        series = _kept[scope] = CusUsageSeries(
            scope.tenant.id if scope.tenant else None,
            scope.integration.id if scope.integration else None,
            now=scope.now,
            days=scope.days,
            zone=scope.zone,
        )
    return series


def cost_by_day(_request: HttpRequest, scope: UsageScope) -> SafeString:
    """The exact cost of each day, by the dearest integrations, models or agents."""
    series = series_of(scope)
    costs = series.costs_by(scope.split)
    names = _names(scope.split, costs)
    return drawn(
        Chart(
            Kind.STACKED_BARS,
            Unit.DOLLARS,
            f"Exact cost a day by {scope.split}, as corrected, in days of {series.zone.key}.",
            "Day",
            days_in_words(series.dates),
            [
                Series(names[name], [in_dollars(of.get(day, 0)) for day in series.dates])
                for name, of in costs.items()
            ],
            _NOTHING_YET,
        )
    )


def tokens_by_kind(_request: HttpRequest, scope: UsageScope) -> SafeString:
    """The tokens of each day, in kinds that add up."""
    series = series_of(scope)
    figures = series.figures
    return drawn(
        Chart(
            Kind.STACKED_BARS,
            Unit.COUNT,
            f"Tokens a day by kind, in days of {series.zone.key}.",
            "Day",
            days_in_words(series.dates),
            _series_of_tokens(series.dates, figures),
            _NOTHING_YET,
        )
    )


_KINDS: Final[dict[str, Callable[[Any], int]]] = {
    "Input": lambda t: max(
        t["tokens_in"]
        - t["tokens_cached"]
        - t["tokens_cache_write"]
        - t["tokens_audio_in"]
        - t["tokens_image_in"],
        0,
    ),
    "Cached input": lambda t: t["tokens_cached"],
    "Cache write": lambda t: t["tokens_cache_write"],
    "Audio and images": lambda t: (
        t["tokens_audio_in"] + t["tokens_image_in"] + t["tokens_audio_out"]
    ),
    "Output": lambda t: max(t["tokens_out"] - t["tokens_reasoning"] - t["tokens_audio_out"], 0),
    "Reasoning": lambda t: t["tokens_reasoning"],
}


def _series_of_tokens(dates: Sequence[date], figures: dict[date, DayFigures]) -> list[Series]:
    found = [
        Series(kind, [count(figures[day].tokens) if day in figures else 0 for day in dates])
        for kind, count in _KINDS.items()
    ]
    return [one for one in found if any(one.values)]


def latency_by_day(_request: HttpRequest, scope: UsageScope) -> SafeString:
    """The latency that half, and 95 %, of each day's calls did not exceed."""
    return _lines_by_day(
        scope,
        Unit.MILLISECONDS,
        "Latency a day: half of the calls, and 95 % of them, were as quick",
        {"p50": lambda day: day.p50_ms, "p95": lambda day: day.p95_ms},
        "No call of these days reported a latency.",
    )


def blocked_by_day(_request: HttpRequest, scope: UsageScope) -> SafeString:
    """The share of each day's calls that were blocked, and of those that failed."""
    return _lines_by_day(
        scope,
        Unit.PERCENT,
        "Of each day's reported calls: those that were blocked before they ran, and those that failed",
        {
            "Blocked": lambda day: _share(day, day.blocked),
            "Failed": lambda day: _share(day, day.errors),
        },
        "No call of these days was blocked, and none failed.",
    )


def _lines_by_day(
    scope: UsageScope,
    unit: Unit,
    title: str,
    lines: Mapping[str, Callable[[DayFigures], float | None]],
    empty: str,
) -> SafeString:
    series = series_of(scope)
    days = [series.figures.get(day) for day in series.dates]
    return drawn(
        Chart(
            Kind.LINES,
            unit,
            f"{title} ({series.zone.key}).",
            "Day",
            days_in_words(series.dates),
            [
                Series(name, [value(day) if day else None for day in days])
                for name, value in lines.items()
            ],
            empty,
        )
    )


def _share(day: DayFigures, part: int) -> float:
    whole = day.calls + day.blocked
    return 100 * part / whole if whole else 0.0


def dearest(split: str) -> Callable[[HttpRequest, UsageScope], SafeString]:
    """A panel: the dearest integrations, models or agents of the days."""

    def view(_request: HttpRequest, scope: UsageScope) -> SafeString:
        if scope.tenant is None and split != "integration":
            return ranking([], [], empty=f"Choose a tenant to see its dearest {split}s.")
        found = series_of(scope).dearest(split)
        names = _names(split, [one.name for one in found])
        whole = max((one.microcents for one in found), default=0)
        return ranking(
            [split.capitalize(), "Exact cost", "Calls", "Tokens"],
            [_ranked(scope, split, one, names[one.name], whole) for one in found],
            empty=_NOTHING_YET,
        )

    return view


def _ranked(scope: UsageScope, split: str, one: Ranked, name: str, whole: int) -> Share:
    texts = [dollars(one.microcents), f"{one.calls:,}", f"{one.tokens:,}"]
    share = max(one.microcents, 0) * _PERMILLE // whole if whole > 0 else 0
    return Share(name, _page_of(scope, split, one.name), texts, share)


def _page_of(scope: UsageScope, split: str, name: str) -> str:
    if split == "integration":
        return integration_page(name)  # type: ignore[arg-type]  # a text of the id
    filters = {"integration": str(scope.integration.id)} if scope.integration else {}
    column = {"model": "model", "agent": "agent_id"}[split]
    return calls_page(**filters, **{column: name}) if name else ""


def dearest_sessions(_request: HttpRequest, scope: UsageScope) -> SafeString:
    """The dearest sessions among the newest records of a tenant or integration."""
    if scope.tenant is None:
        return ranking([], [], empty="Choose a tenant to see its dearest sessions.")
    one = scope.integration
    found = usage_series.dearest_sessions(scope.tenant.id, one.id if one else None)
    whole = found[0].microcents if found else 0
    shares = [
        Share(
            session.session_id,
            calls_page(integration=str(session.integration_id), session_id=session.session_id),
            [dollars(session.microcents), f"{session.calls:,}"],
            session.microcents * _PERMILLE // whole if whole else 0,
        )
        for session in found
    ]
    return ranking(
        [f"Session (of the newest {usage_series.NEWEST:,} records)", "Exact cost", "Calls"],
        shares,
        empty="No program named a session yet. The SDK takes it as `session_id`.",
    )


def cost_page(scope: UsageScope) -> str:
    """The address of the page on cost for a scope."""
    page = reverse("cus-cost")
    return f"{page}?integration={scope.integration.id}" if scope.integration else page


def cost_by_day_in_short(request: HttpRequest, scope: UsageScope) -> SafeString:
    """The cost of each day, with the way to the page on cost."""
    return with_link(cost_by_day(request, scope), cost_page(scope), "All on cost")


def of_home(
    view: Callable[[HttpRequest, UsageScope], SafeString],
) -> Callable[[HttpRequest, None], SafeString]:
    """A chart of the first page."""
    return lambda request, _subject: view(
        request, _once(request, lambda: home_scope(request, page_now(request)))
    )


def of_integration(
    view: Callable[[HttpRequest, UsageScope], SafeString],
) -> Callable[[HttpRequest, CusIntegration], SafeString]:
    """A chart of an integration's page."""
    return lambda request, one: view(
        request, _once(request, lambda: scope_of_integration(one, page_now(request)))
    )


def _once(request: HttpRequest, make: Callable[[], UsageScope]) -> UsageScope:
    """The scope of a page, the same for all its charts."""
    scope: UsageScope | None = getattr(request, _SCOPE, None)
    if scope is None:
        scope = make()
        setattr(request, _SCOPE, scope)
    return scope


def days_in_words(dates: Iterable[date]) -> list[str]:
    return [f"{day.day} {day:%b}" for day in dates]


def _names(split: str, keys: Iterable[str | None]) -> dict[str | None, str]:
    """What keys of a split are called."""
    known = [key for key in keys if key is not None]
    if split != "integration":
        return {None: _OTHERS, **{key: key or _NO_NAME for key in known}}
    rows = CusIntegration.objects.select_related("tenant").in_bulk(known)
    several = len({row.tenant_id for row in rows.values()}) > 1
    named = {
        str(one_id): f"{row.name}, {row.tenant}" if several else row.name
        for one_id, row in rows.items()
    }
    return {None: _OTHERS, **{key: named.get(key, key) for key in known}}
