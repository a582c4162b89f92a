"""Texts that would run as programs, in everything that a tenant or an SDK can set: none does."""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_prices.service import CusPriceOverrideService
from integrations.cus_tenancy.tenant_service import CusTenantService
from integrations.cus_web.errors import CusError
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_statements.invoices import CusInvoiceService
from tests.browser.conftest import OpenAs
from tests.browser.cus_pages import Look, Watched
from tests.cus_factories import SdkClient, record, turn_health
from tests.cus_small_world import World

_RUN = "window.cusRan=1;alert(1)"
PAYLOADS = (
    f"<script>{_RUN}</script>",
    f"</script><script>{_RUN}</script>",
    f"<ScRiPt>{_RUN}</sCrIpT>",
    f"<img src=x onerror={_RUN}>",
    f"<img src=x onerror='{_RUN}'>",
    f'"><img src=x onerror="{_RUN}">',
    f"'><img src=x onerror='{_RUN}'>",
    f"<svg onload={_RUN}>",
    f"<svg/onload={_RUN}//",
    f'"><svg onload="{_RUN}">',
    f"<body onload={_RUN}>",
    f"<details open ontoggle={_RUN}>",
    f"<input autofocus onfocus={_RUN}>",
    f'" autofocus onfocus="{_RUN}',
    f"' onmouseover='{_RUN}",
    f'" onclick="{_RUN}" x="',
    f"<iframe srcdoc='<script>parent.{_RUN}</script>'>",
    f"<iframe src=javascript:{_RUN}>",
    f"javascript:{_RUN}",
    f"<a href=javascript:{_RUN}>x</a>",
    f"<math><mtext></table><img src=x onerror={_RUN}>",
    f"<template><script>{_RUN}</script></template>",
    f"</textarea><script>{_RUN}</script>",
    f"</title><script>{_RUN}</script>",
    f"--><script>{_RUN}</script>",
    f"]]><script>{_RUN}</script>",
    # The theme evaluates such expressions in attributes of its own.
    f'" x-init="{_RUN}" x="',
    f"<div x-data x-init='{_RUN}'>",
    "{{constructor.constructor('window.cusRan=1')()}}",
    "{% debug %}{{ settings.SECRET_KEY }}<b hx-on:load='window.cusRan=1'>",
)
_USAGE, _DECISIONS = "/admin/telemetry/cusllmusage/", "/admin/enforcement/cusenforcementdecision/"
A = "/admin/integrations/"


def test_there_are_thirty() -> None:
    assert len(set(PAYLOADS)) == 30


@pytest.fixture(scope="module")
def hostile(world: World) -> CusTenant:
    """The world's tenant, with each payload in each text that its people or programs can set."""
    for number, text in enumerate(PAYLOADS):
        integration = _integration(world, text, number)
        _people_set(world, integration, text)
        _programs_set(integration, text)
    rollup_usage(database_now() + timedelta(minutes=11), within=timedelta(seconds=60))
    return world.tenant


def _integration(world: World, text: str, number: int) -> CusIntegration:
    service = CusIntegrationService(world.tenant, actor=world.people["admin"])
    made = service.create(
        name=f"{text} {number}",
        provider_type="custom",
        credential={"api_key": "sk-0123456789"},
        config={"base_url": "https://models.example.com/v1"},
        default_model=text,
        budget_limit_cents=100,
    )
    CusIntegration.objects.filter(id=made.id).update(
        health_state="failing", health_message=text, error_reason=text
    )
    # The message is what the provider answered.
    turn_health(
        made, "unknown", "failing", message=text, status_from="created", status_to="created"
    )
    return service.enable(service.recover(made))


def _people_set(world: World, integration: CusIntegration, text: str) -> None:
    admin, now = world.people["admin"], timezone.now()
    CusSdkKeyService(integration, actor=admin).issue(label=text[:100])
    CusTokenService(admin).issue(name=text[:100], now=now)
    CusInvoiceService(world.tenant, actor=admin).enter(
        datetime.now(UTC).date().replace(day=1),
        integration_id=integration.id,
        total_cents=100,
        note=text,
    )
    # A name that a price can't have is refused, which is as good.
    with suppress(ValidationError, CusError):
        CusPriceOverrideService(world.tenant, actor=admin).append(
            model=text[:100], prices={"input": "1", "output": "2"}, valid_from=now
        )
    CusTenantService(actor=world.people["operator"]).create(f"{text[:80]} {uuid.uuid4().hex[:6]}")


def _programs_set(integration: CusIntegration, text: str) -> None:
    sdk = SdkClient(issue_sdk_key(integration)[1])
    short, tight = text[:64], "".join(text.split())[:100]
    answer = sdk.report(_hostile_record(text, short, tight))
    assert answer.status_code == 201, answer.content
    sdk.check(
        f"c{tight}"[:100],
        model=text[:100],
        agent_id=text[:100],
        session_id=text[:100],
        end_user=text[:100],
        estimated_cost_cents=900_000,
        reserve=False,
    )
    now = timezone.now()
    sdk.client.post(
        "/api/v1/cus/telemetry/bypass",
        {
            "window_start": (now - timedelta(minutes=1)).isoformat(),
            "window_end": now.isoformat(),
            "governed_calls": 1,
            "bypassed_calls": 1,
            "process_id": tight,
            "hosts": {tight: 1},
            "sdk": text[:100],
        },
        content_type="application/json",
    )


def _hostile_record(text: str, short: str, tight: str) -> dict[str, Any]:
    return record(
        call_id=f"r{tight}"[:100],
        model=text[:100],
        model_requested=text[:100],
        agent_id=text[:100],
        session_id=text[:100],
        end_user=text[:100],
        tags=[f"team={short}"[:64]],
        error_code=short,
        error_message=text,
        metadata={"note": text, short: "x"},
        response_id=text[:200],
        provider_request_id=text[:200],
        provider_project=text[:100],
        service_tier=short[:20],
        process_id=tight,
        sequence=7,
        cost_cents=None,
    )


def _pages(world: World) -> Iterator[str]:
    """Every page on which one of the texts may be."""
    month = f"/admin/statement/{datetime.now(UTC):%Y-%m}/"
    whose = f"tenant={world.tenant.id}"
    yield from (
        "/admin/",
        "/admin/start/",
        f"/admin/coverage/?{whose}",
        f"{month}invoices/?{whose}",
    )
    yield from (f"{month}?{whose}&by={group}" for group in ("integration", "model", "agent"))
    yield from (f"{A}{page}/" for page in ("cusintegration", "cussdkkey", "cuspriceoverride"))
    yield from (f"{A}{page}/" for page in ("cusauditentry", "cushealthtransition", "cusapitoken"))
    yield from (_USAGE, _DECISIONS, "/admin/telemetry/cusbypassreport/")
    yield from (f"{_USAGE}?agent_id={quote(text)}&received=31" for text in PAYLOADS[:6])
    for text in PAYLOADS:
        yield f"/admin/find/?q={quote(text)}"
    for text in PAYLOADS[:6]:
        yield f"{_USAGE}?q={quote(text)}"
        yield f"{month}?{whose}&by={quote(text)}"
    for one in CusIntegration.objects.filter(tenant=world.tenant, provider_type="custom"):
        yield f"{A}cusintegration/{one.id}/tab/overview/"
        yield f"{A}cusintegration/{one.id}/change/"
        yield f"/admin/start/{one.id}/test/"
    for usage in CusLLMUsage.objects.filter(tenant_id=world.tenant.id, error_code__isnull=False):
        yield f"{_USAGE}{usage.id}/change/"


@pytest.mark.parametrize("role", ["operator", "admin"])
def test_no_text_runs_on_any_page(
    role: str, open_as: OpenAs, hostile: CusTenant, world: World
) -> None:
    with open_as(role, Look()) as window:
        for address in _pages(world):
            window.go(address)
            _nothing_ran(window, address)
        window.shoot(f"hostile-{role}")


def test_the_tenants_page_runs_no_tenants_name(open_as: OpenAs, hostile: CusTenant) -> None:
    with open_as("operator", Look()) as window:
        for address in (f"{A}custenant/", f"{A}cussdkkey/add/", f"{A}cusintegration/add/"):
            window.go(address)
            _nothing_ran(window, address)


def _nothing_ran(window: Watched, address: str) -> None:
    ran = window.page.evaluate(
        "window.cusRan || document.querySelectorAll('[onerror], [onload], [ontoggle]').length"
    )
    if ran:
        window.faults.append(f"{address} ran a text, or took it for HTML")


def test_the_texts_are_on_the_pages(hostile: CusTenant, world: World) -> None:
    """Else the tests above would prove nothing."""
    client = Client()
    client.cookies["sessionid"] = world.session_of("operator")
    list_of_usage = client.get(_USAGE).content.decode()

    assert "onerror=window.cusRan=1" in list_of_usage
    assert "<img src=x onerror" not in list_of_usage
