"""A stored credential goes where it was entered for, and nowhere else (ruling C4a)."""

import importlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings as configured
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_credentials import sending
from integrations.cus_credentials.envelope import key_ring, seal
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.registry import row_name
from integrations.cus_health.service import CheckResult, CusHealthService
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.custom import CustomProbe
from integrations.cus_providers.origin import effective_origin, leads_where_entered
from integrations.cus_providers.probe_answers import Verdict
from integrations.cus_providers.probes import Headers
from integrations.cus_providers.registry import PROVIDERS
from integrations.cus_web.errors import CredentialRequired, CusError, OperatorsOnly
from tests.cus_factories import make_integration, make_user, opened_credential
from tests.cus_raw_server import RawServer, says

pytestmark = pytest.mark.django_db

KEY = "canary-0123456789abcdef"
OTHER = {"api_key": "another-9876543210fedc"}
REF = "env://CUS_CREDENTIAL_OURS"
ELSEWHERE = "entered for another address"
migration = importlib.import_module("integrations.migrations.0008_cus_credential_origin")


def _url(server: RawServer) -> dict[str, Any]:
    return {"base_url": server.url}


@pytest.fixture
def servers(settings: Settings) -> Iterator[tuple[RawServer, RawServer]]:
    """The address that a credential was entered for, and another one."""
    good = says(200, {"object": "list", "data": []})
    with RawServer(good) as entered, RawServer(good) as other:
        settings.CUS_ALLOW_HTTP_PROVIDERS = True
        settings.CUS_ALLOWED_PRIVATE_HOSTS = [
            f"127.0.0.1:{entered.port}",
            f"127.0.0.1:{other.port}",
        ]
        yield entered, other


@pytest.fixture
def here(tenant: CusTenant, servers: tuple[RawServer, RawServer]) -> CusIntegration:
    """An integration whose credential was entered for the first server."""
    return make_integration(
        tenant, provider_type="custom", config=_url(servers[0]), credential={"api_key": KEY}
    )


def _check(integration: CusIntegration, now: datetime | None = None) -> CheckResult:
    return CusHealthService(integration.tenant).check(integration, now=now or timezone.now())


def _service(integration: CusIntegration, role: str | None) -> CusIntegrationService:
    actor: CusUser | None = None
    if role:
        actor = make_user(role, integration.tenant if role == "admin" else None)
    return CusIntegrationService(integration.tenant, actor=actor)


# --- What is a change of the origin --------------------------------------------------------------

PLACES = [
    ("custom", {"base_url": "https://a.example/v1"}, "https://a.example:443"),
    ("custom", {"base_url": "https://A.Example.:443"}, "https://a.example:443"),
    ("custom", {"base_url": "https://a.example:8443/"}, "https://a.example:8443"),
    ("custom", {"base_url": "http://a.example"}, "http://a.example:80"),
    ("custom", {"base_url": "https://[2001:DB8:0::1]"}, "https://[2001:db8::1]:443"),
    ("custom", {"base_url": "https://xn--bcher-kva.example"}, "https://xn--bcher-kva.example:443"),
    ("azure_openai", {"base_url": "https://a.example/openai/v1"}, "https://a.example:443"),
    ("openai", {"project": "p"}, "https://api.openai.com:443"),
    ("anthropic", {}, "https://api.anthropic.com:443"),
    ("bedrock", {"region": "eu-west-1"}, "https://bedrock.eu-west-1.amazonaws.com:443"),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "config", "origin"), PLACES)
def test_an_origin_is_scheme_host_and_port(
    provider: str, config: dict[str, Any], origin: str
) -> None:
    assert effective_origin(provider, config) == origin


def test_a_name_of_another_script_is_the_same_in_ascii() -> None:
    config = {"base_url": "https://bücher.example"}

    assert effective_origin("custom", config) == "https://xn--bcher-kva.example:443"


MOVES = [
    ("custom", {"base_url": "https://b.example/v1"}),
    ("custom", {"base_url": "https://a.example:8443/v1"}),
    ("custom", {"base_url": "http://a.example/v1"}),
    ("custom", {"base_url": "https://a.example.evil.example/v1"}),
    ("custom", {"base_url": "https://93.184.216.34/v1"}),
    ("azure_openai", {"base_url": "https://b.example"}),
    ("bedrock", {"region": "us-east-1"}),
]
FREE = [
    ("custom", {"base_url": "https://a.example/v2", "health_path": "/health"}),
    ("custom", {"base_url": "https://A.EXAMPLE:443/v1", "project": "p"}),
    ("azure_openai", {"base_url": "https://a.example", "deployment": "d", "api_version": "v"}),
    ("bedrock", {"region": "eu-west-1", "timeout_seconds": 5}),
]
_ENTERED = {
    "custom": {"base_url": "https://a.example/v1"},
    "azure_openai": {"base_url": "https://a.example/openai"},
    "bedrock": {"region": "eu-west-1"},
}


def _entered(tenant: CusTenant, provider: str) -> CusIntegration:
    return make_integration(tenant, provider_type=provider, config=_ENTERED[provider])


@pytest.mark.parametrize(("provider", "config"), MOVES)
@pytest.mark.parametrize("role", [None, "admin", "operator"])
def test_nobody_moves_a_credential_without_entering_it_again(
    tenant: CusTenant,
    settings: Settings,
    provider: str,
    config: dict[str, Any],
    role: str | None,
) -> None:
    settings.CUS_ALLOW_HTTP_PROVIDERS = True
    integration = _entered(tenant, provider)
    service = _service(integration, role)

    with pytest.raises(CredentialRequired) as refused:
        service.change(integration.id, config=config, name="New")

    assert (refused.value.code, refused.value.attr) == ("credential_required", "credential")
    row = service.get(integration.id)
    assert (row.config, row.name) == (_ENTERED[provider], integration.name)

    moved = service.change(integration.id, config=config, credential=OTHER)

    assert moved.credential_origin == effective_origin(provider, config)
    assert opened_credential(moved) == OTHER


@pytest.mark.parametrize(("provider", "config"), FREE)
def test_what_stays_at_the_origin_is_free(
    tenant: CusTenant, provider: str, config: dict[str, Any]
) -> None:
    integration = _entered(tenant, provider)

    changed = CusIntegrationService(tenant).change(integration.id, config=config)

    assert (changed.config, changed.credential_origin) == (config, integration.credential_origin)


def test_whoever_names_a_reference_is_an_operator_and_names_it_again_for_another_address(
    tenant: CusTenant,
) -> None:
    integration = _entered(tenant, "custom")
    operator, admin = _service(integration, "operator"), _service(integration, "admin")
    there, back = {"base_url": "https://b.example"}, {"base_url": "https://a.example"}
    operator.change(integration.id, reference=REF)

    with pytest.raises(OperatorsOnly):
        admin.change(integration.id, config=there)
    with pytest.raises(OperatorsOnly):
        admin.change(integration.id, config=there, reference=REF)
    with pytest.raises(CredentialRequired) as refused:
        operator.change(integration.id, config=there)
    assert refused.value.attr == "credential_ref"

    moved = operator.change(integration.id, config=there, reference=REF)
    assert (moved.credential_ref, moved.credential_origin) == (REF, "https://b.example:443")
    own = admin.change(integration.id, config=back, credential=OTHER)
    assert own.credential_origin == "https://a.example:443"


# --- What is sent --------------------------------------------------------------------------------


def test_a_check_asks_the_address_that_the_credential_was_entered_for(
    here: CusIntegration, servers: tuple[RawServer, RawServer]
) -> None:
    assert _check(here).ok
    assert servers[0].headers()["authorization"] == f"Bearer {KEY}"


def _update(integration: CusIntegration, **values: Any) -> None:
    """Around the services, as with SQL."""
    CusIntegration.objects.filter(id=integration.id).update(**values)
    integration.refresh_from_db()


def _refused(integration: CusIntegration, other: RawServer) -> None:
    """A check sends nothing, reports the reason, and blocks no calls."""
    result = _check(integration)

    assert result.verdict is Verdict.NOT_CHECKABLE
    assert ELSEWHERE in result.message
    assert other.connections == 0
    integration.refresh_from_db()
    assert (integration.status, integration.credential_state) == ("enabled", "unknown")


def test_a_row_that_was_changed_around_the_services_sends_nothing(
    here: CusIntegration, servers: tuple[RawServer, RawServer]
) -> None:
    _update(here, config=_url(servers[1]))

    _refused(here, servers[1])


def test_the_recorded_origin_is_sealed_with_the_credential(
    here: CusIntegration, servers: tuple[RawServer, RawServer]
) -> None:
    _update(here, config=_url(servers[1]), credential_origin=servers[1].url)

    _refused(here, servers[1])


def test_a_reference_that_was_entered_for_another_address_is_not_even_read(
    here: CusIntegration,
    servers: tuple[RawServer, RawServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUS_CREDENTIAL_OURS", KEY)
    _service(here, "operator").change(here.id, reference=REF)
    assert _check(here).ok
    _update(here, config=_url(servers[1]), credential_state="unknown")
    monkeypatch.setattr(sending, "store_of", None)

    _refused(here, servers[1])


def test_a_credential_that_takes_the_place_of_another_meanwhile_is_not_sent_to_its_address(
    here: CusIntegration, servers: tuple[RawServer, RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check has read the row, and then the credential is replaced together with the address."""
    entered, other = servers

    def slow(integration: CusIntegration) -> bool:
        found = leads_where_entered(integration)
        CusIntegrationService(here.tenant).change(
            here.id, config=_url(other), credential={"api_key": "for-the-other-0123456789"}
        )
        return found

    monkeypatch.setattr(sending, "leads_where_entered", slow)

    result = _check(here)

    assert ELSEWHERE in result.message
    assert not result.stored
    assert (entered.connections, other.connections) == (0, 0)


def test_a_probe_that_asks_somewhere_else_is_stopped(
    here: CusIntegration, servers: tuple[RawServer, RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that is planted where the credential is in the clear already."""

    class Planted(CustomProbe):
        def request(self) -> tuple[str, Headers]:
            url, headers = super().request()
            return url.replace(str(servers[0].port), str(servers[1].port)), headers

    planted = replace(PROVIDERS["custom"], probe_class=Planted)
    monkeypatch.setitem(PROVIDERS, "custom", planted)

    _refused(here, servers[1])


@pytest.mark.parametrize(
    "path",
    [
        "//{other}/", "http://{other}/", "@{other}/", ":1@{other}/", "/\\{other}/", "\\\\{other}",
        "/../../{other}", "/%2f%2f{other}/", "?@{other}", "#@{other}", ".{other}", "\t//{other}/",
    ],
)  # fmt: skip
def test_a_health_path_does_not_lead_away(
    here: CusIntegration, servers: tuple[RawServer, RawServer], path: str
) -> None:
    other = servers[1].url.removeprefix("http://")
    _update(here, config=_url(servers[0]) | {"health_path": path.format(other=other)})

    _check(here)

    assert servers[1].connections == 0


def test_nothing_is_enabled_whose_credential_would_go_elsewhere(
    here: CusIntegration, servers: tuple[RawServer, RawServer]
) -> None:
    service = CusIntegrationService(here.tenant)
    service.disable(here)
    _update(here, config=_url(servers[1]))

    with pytest.raises(CredentialRequired, match="Enter the credential again"):
        service.enable(here)

    service.change(here.id, credential=OTHER)
    assert service.enable(here).status == "enabled"
    assert service.enable(here).status == "enabled"
    _update(here, config=_url(servers[0]))
    assert service.disable(here).status == "disabled"


# --- What was there before -----------------------------------------------------------------------


def test_a_credential_that_an_earlier_release_sealed_is_entered_for_its_present_origin(
    here: CusIntegration, servers: tuple[RawServer, RawServer]
) -> None:
    plain = json.dumps({"api_key": KEY}).encode()
    sealed = seal(key_ring(configured.CUS_CREDENTIAL_KEYS), plain, row=row_name(here))
    CusCredential.objects.update(sealed=sealed)
    _update(here, credential_origin="")

    with connection.schema_editor() as editor:
        migration.enter_for_present_origins(apps, editor)

    here.refresh_from_db()
    assert here.credential_origin == servers[0].url
    assert _check(here).ok
    with pytest.raises(CredentialRequired):
        CusIntegrationService(here.tenant).change(here.id, config=_url(servers[1]))


@pytest.mark.parametrize(
    ("provider", "config"),
    [(provider, config) for provider, config, _ in PLACES]
    + [("openai", {"base_url": "https://proxy.example/v1"})],
)
def test_the_migration_and_the_product_agree_on_where_a_credential_goes(
    provider: str, config: dict[str, Any]
) -> None:
    assert migration.present_origin(provider, config) == effective_origin(provider, config)


@pytest.mark.parametrize(
    ("provider", "config"),
    [
        ("custom", {}),
        ("custom", []),
        ("custom", {"base_url": 5}),
        ("custom", {"base_url": "ftp://a.example"}),
        ("custom", {"base_url": "https://a.example:99999"}),
        ("custom", {"base_url": "https://[::1"}),
        ("custom", {"base_url": "https:///v1"}),
        ("bedrock", {"region": "moon/../x"}),
        ("gemini", {}),
    ],
)
def test_what_leads_nowhere_is_entered_for_nothing(provider: str, config: Any) -> None:
    assert migration.present_origin(provider, config) == ""
    with suppress(CusError, AttributeError):
        assert effective_origin(provider, config) == "nowhere"


def test_a_row_without_an_origin_sends_nothing(
    here: CusIntegration, servers: tuple[RawServer, RawServer]
) -> None:
    """As one that an old process made during an upgrade."""
    _update(here, credential_origin="")

    _refused(here, servers[0])
