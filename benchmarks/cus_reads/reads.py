"""The reads to measure: those of the API, and each page of the console."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from benchmarks.cus_reads.world import World
from telemetry.cus_evidence.models import CusLLMUsage

_USAGE = "/api/v1/cus/telemetry/llm-usage"
_TELEMETRY = "/api/v1/cus/telemetry"
_GROUPS = (
    "integration", "provider", "model", "agent", "policy_result", "hour", "day",
    "day,model", "integration,agent",
)  # fmt: skip
DEEP_PAGES = 50


class Read(NamedTuple):
    """A read that is measured: as whom, and the addresses that it asks for in turn."""

    name: str
    client: Client
    addresses: Sequence[str]


def api_reads(world: World, pages: int = DEEP_PAGES) -> Iterator[Read]:
    """Records by every filter, sums by every group, hours, days, FOCUS, decisions and limits."""

    def read(name: str, path: str, *queries: Mapping[str, Any]) -> Read:
        addresses = [f"{path}?{urlencode(query)}" for query in queries or ({},)]
        return Read(f"API: {name}", world.admin, addresses)

    month = {"from": _iso(world.now - world.span), "to": _iso(world.now)}
    days = {name: moment[:10] for name, moment in month.items()}
    yield read("records, the newest", _USAGE)
    yield Read(f"API: records, page {pages}", world.admin, [_deep_page(world, pages)])
    for name, queries in _record_filters(world).items():
        yield read(f"records by {name}", _USAGE, *queries)
    for groups in _GROUPS:
        yield read(f"sums by {groups}", f"{_USAGE}/summary", {**month, "group_by": groups})
    sessions = [
        {
            "integration_id": call.integration_id,
            "session": call.session_id,
            "from": _iso(call.occurred_at - timedelta(days=3)),
            "to": _iso(call.occurred_at + timedelta(days=3)),
        }
        for call in world.calls
    ]
    yield read("sums of a session", f"{_USAGE}/summary", *sessions)
    yield read("hours", f"{_TELEMETRY}/usage-hourly", month)
    yield read("days", f"{_TELEMETRY}/usage-daily", days)
    zoned = {**days, "zone": "Asia/Kathmandu"}
    yield read("days in a zone of 45 minutes", f"{_TELEMETRY}/usage-daily", zoned)
    yield read("unusual hours", f"{_TELEMETRY}/anomalies", month)
    yield read("gaps", f"{_TELEMETRY}/gaps")
    yield read("decisions", "/api/v1/cus/enforcement/decisions")
    limits = [f"/api/v1/cus/integrations/{one}/limits" for one in world.integrations]
    yield Read("API: limits of an integration", world.admin, limits)


def _record_filters(world: World) -> dict[str, list[dict[str, Any]]]:
    names = ("integration_id", "model", "provider", "agent_id", "session_id", "call_id")
    found: dict[str, list[dict[str, Any]]] = {
        name: [{name: getattr(call, name)} for call in world.calls] for name in names
    }
    found["session_id"] = [
        {
            "session_id": call.session_id,
            "from": _iso(call.created_at - timedelta(days=15)),
            "to": _iso(call.created_at + timedelta(days=15)),
        }
        for call in world.calls
    ]
    nothing = {"agent_id": "nobody", "end_user": "nobody", "tag": "team=none", "error_code": "none"}
    return found | {f"a {name} that nothing has": [{name: no}] for name, no in nothing.items()}


def _deep_page(world: World, pages: int) -> str:
    address = _USAGE
    for _ in range(pages - 1):
        address = world.admin.get(address).json()["next"]
    return address


def console_pages(world: World) -> Iterator[Read]:
    """The first page, the search, and each list and each object's page that an operator may open."""
    yield Read("console: first page", world.operator, [reverse("admin:index")])
    find = reverse("cus-find")
    asked: dict[str, list[str]] = {
        "a call": [call.call_id for call in world.calls],
        "a session": [str(call.session_id) for call in world.calls],
        "an agent": [str(call.agent_id) for call in world.calls],
        "nothing that is there": ["nothing-of-this-name"],
    }
    for name, words in asked.items():
        addresses = [f"{find}?{urlencode({'q': word})}" for word in words]
        yield Read(f"console: find {name}", world.operator, addresses)
    for name, queries in _list_filters(world).items():
        listed = reverse("admin:telemetry_cusllmusage_changelist")
        addresses = [f"{listed}?{urlencode(query)}" for query in queries]
        yield Read(f"console: usage by {name}", world.operator, addresses)
    cost = reverse("cus-cost")
    for name, query in _costs(world).items():
        yield Read(f"console: cost {name}", world.operator, [f"{cost}?{urlencode(query)}"])
    registered = [model for model in apps.get_models() if admin.site.is_registered(model)]
    for model in sorted(registered, key=lambda one: one._meta.label):
        yield from _pages_of(world, model)


def _list_filters(world: World) -> dict[str, list[dict[str, Any]]]:
    """What the list of usage records is narrowed by, each within 31 days as its page does."""
    within = {"received": "31"}
    tenant = {"tenant": str(world.tenant.id)}
    rare: dict[str, Any] = {
        "model": "none", "outcome": "blocked", "pricing": "unmeasured", "degraded": "yes",
        "flag": "none", "cost_above": "900000", "error_code": "none", "tag": "team=none",
    }  # fmt: skip
    found: dict[str, list[dict[str, Any]]] = {
        "a model": [{"model": call.model} for call in world.calls],
        "an integration": [{"integration": str(call.integration_id)} for call in world.calls],
        "a session": [{"session_id": call.session_id} for call in world.calls],
        **{f"a {name} that nothing has": [{name: value}] for name, value in rare.items()},
        **{f"a {name} that nothing has, of a tenant": [{name: value} | tenant]
           for name, value in rare.items()},
    }  # fmt: skip
    return {name: [query | within for query in queries] for name, queries in found.items()}


def _costs(world: World) -> dict[str, dict[str, Any]]:
    tenant = {"tenant": str(world.tenant.id)}
    return {
        "of all tenants": {},
        "of a tenant": tenant,
        "of a tenant by model": tenant | {"by": "model"},
        "of a tenant by agent, 90 days": tenant | {"by": "agent", "days": "90"},
        "of an integration": {"integration": str(world.integrations[0])},
    }


def _pages_of(world: World, model: type[Model]) -> Iterator[Read]:
    name = f"{model._meta.app_label}_{model._meta.model_name}"
    yield Read(
        f"console: {model._meta.verbose_name_plural}",
        world.operator,
        [reverse(f"admin:{name}_changelist")],
    )
    keys = [call.pk for call in world.calls] if model is CusLLMUsage else _first_key(model)
    if keys:
        addresses = [reverse(f"admin:{name}_change", args=[_quoted(key)]) for key in keys]
        yield Read(f"console: one of {model._meta.verbose_name_plural}", world.operator, addresses)


def _first_key(model: type[Model]) -> list[Any]:
    return list(cast("Any", model).objects.values_list("pk", flat=True)[:1])


def _quoted(key: Any) -> str:
    return str(quote(str(key)))


def _iso(moment: datetime) -> str:
    return moment.isoformat()
