"""A provider type that the registry lacks is refused everywhere; one that it has works everywhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.db.models import CheckConstraint, Q
from django.test import Client
from django.utils import timezone

from aos_project.cus_schema_views import forget_document
from integrations.cus_accounts.models import CusTenant
from integrations.cus_health.service import CusHealthService
from integrations.cus_integrations.form import (
    provider_boxes,
    types_with_config,
    types_with_secret,
)
from integrations.cus_integrations.serializers import IntegrationCreate
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_integrations.worker_config import worker_config
from integrations.cus_integrations.worker_import import import_workers
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers import config_checks
from integrations.cus_providers.origin import effective_origin
from integrations.cus_providers.probe_answers import Verdict
from integrations.cus_providers.probes import Headers, Probe
from integrations.cus_providers.provider import (
    API_KEY,
    TIMEOUT,
    ConfigKey,
    CredentialShape,
    Provider,
)
from integrations.cus_providers.registry import PROVIDERS, probe_of, supported_choices
from integrations.cus_providers.rules import check_config, check_credential
from integrations.cus_providers.safe_http import SafeHttp
from integrations.cus_web.errors import ProviderUnsupported
from integrations.cus_web.strict_fields import StrictChoice
from telemetry.cus_money import genai_prices
from telemetry.cus_money.genai_prices import genai_pricing
from tests.cus_factories import make_integration, make_user, signed_in
from tests.cus_raw_server import RawServer, says

pytestmark = pytest.mark.django_db

SECRET = "anything-goes-0123456789"
LEAK = {"api_key": SECRET}
Work = Callable[[], Any]


@pytest.fixture
def enum_alone(monkeypatch: pytest.MonkeyPatch) -> str:
    """A provider type that is only in the enum and in the model's choices."""
    provider, name = CusIntegration.Provider, "mistral"
    member = str.__new__(provider, name)
    member._value_, member._name_, member._label_ = name, "MISTRAL", "Mistral"
    monkeypatch.setitem(provider._member_map_, "MISTRAL", member)
    monkeypatch.setitem(provider._value2member_map_, name, member)
    monkeypatch.setattr(provider, "_member_names_", [*provider._member_names_, "MISTRAL"])
    field = CusIntegration._meta.get_field("provider_type")
    monkeypatch.setattr(field, "choices", provider.choices)
    assert (name, "Mistral") in provider.choices
    return name


@pytest.mark.parametrize("config", [{}, LEAK, {"base_url": "https://a.example"}])
@pytest.mark.parametrize("credential", [{}, LEAK, {"surprise": SECRET}])
def test_a_type_that_only_the_enum_has_is_refused_at_creation(
    tenant: CusTenant, enum_alone: str, config: dict[str, str], credential: dict[str, str]
) -> None:
    with pytest.raises(ProviderUnsupported) as refused:
        CusIntegrationService(tenant).create(
            name="Ours", provider_type=enum_alone, credential=credential, config=config
        )

    assert refused.value.attr == "provider_type"
    assert not CusIntegration.objects.exists()


def test_over_http_and_in_the_form_it_is_no_choice(tenant: CusTenant, enum_alone: str) -> None:
    client = signed_in(make_user("admin", tenant))
    body = {"name": "Ours", "provider_type": enum_alone, "credential": LEAK, "config": LEAK}

    answer = client.post("/api/v1/cus/integrations", body, content_type="application/json")
    page = client.post("/admin/integrations/cusintegration/add/", body | {"config": ""})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["attr"] == "provider_type"
    assert SECRET not in answer.content.decode()
    assert "provider_type" in page.context["adminform"].form.errors
    assert not CusIntegration.objects.exists()


def test_a_type_that_gets_past_the_list_of_choices_is_refused_by_the_service(
    tenant: CusTenant, enum_alone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the lists of the API had been made from the enum."""
    choice = StrictChoice(CusIntegration.Provider.choices)
    monkeypatch.setitem(IntegrationCreate._declared_fields, "provider_type", choice)
    client: Client = signed_in(make_user("admin", tenant))
    body = {"name": "Ours", "provider_type": enum_alone, "credential": LEAK, "config": LEAK}

    answer = client.post("/api/v1/cus/integrations", body, content_type="application/json")

    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["code"], error["attr"]) == ("provider_unsupported", "provider_type")


def test_an_import_refuses_it(
    tenant: CusTenant, enum_alone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai = PROVIDERS["openai"]
    names = (*openai.legacy_names, enum_alone)
    monkeypatch.setitem(PROVIDERS, "openai", replace(openai, key=enum_alone, legacy_names=names))
    text = (
        f'{{"tenant": "{tenant.name}", "worker_id": "w", '
        f'"config": {{"provider": "{enum_alone}", "api_key": "{SECRET}"}}}}'
    )

    (line,) = import_workers(text, apply=True)

    assert "no rules, health check and prices" in line.problem
    assert not CusIntegration.objects.exists()


@contextmanager
def _without(key: str) -> Iterator[None]:
    """The registry without a provider, and afterwards in its former order."""
    kept = dict(PROVIDERS)
    del PROVIDERS[key]
    try:
        yield
    finally:
        PROVIDERS.clear()
        PROVIDERS.update(kept)


def test_one_that_exists_is_neither_changed_nor_enabled_nor_asked(
    integration: CusIntegration,
) -> None:
    disabled = make_integration(integration.tenant)
    service = CusIntegrationService(integration.tenant)
    service.disable(disabled)
    works: list[Work] = [
        lambda: service.change(integration.id, name="New"),
        lambda: service.change(integration.id, config=LEAK),
        lambda: service.change(integration.id, credential=LEAK),
        lambda: service.create(name="Another", provider_type="openai", credential=LEAK),
        lambda: service.enable(disabled),
    ]

    with _without("openai"):
        for work in works:
            with pytest.raises(ProviderUnsupported):
                work()
        check = CusHealthService(integration.tenant).check(integration, now=timezone.now())

    assert check.verdict is Verdict.NOT_CHECKABLE
    assert service.disable(integration).status == "disabled"


def test_a_type_that_nobody_knows_stays_a_validation_error(tenant: CusTenant) -> None:
    with pytest.raises(ValidationError) as refused:
        make_integration(tenant, provider_type="gemini", config={})

    assert list(refused.value.message_dict) == ["provider_type"]


def _problems() -> list[str]:
    """What the system checks say of providers."""
    return [problem.msg for problem in run_checks() if problem.id in ("cus.E004", "cus.E005")]


def test_the_systems_checks_name_a_type_that_only_the_enum_has(enum_alone: str) -> None:
    (problem,) = _problems()

    assert enum_alone in problem
    assert "not in PROVIDERS" in problem


def test_every_type_is_complete() -> None:
    assert supported_choices() == CusIntegration.Provider.choices
    assert _problems() == []


def test_only_an_openai_compatible_server_has_no_prices_by_its_name() -> None:
    assert [key for key, provider in PROVIDERS.items() if not provider.price_names] == ["custom"]


# --- A provider that the registry has -------------------------------------------------------------


class _MistralProbe(Probe):
    label = "Mistral"
    home = "https://api.mistral.ai/v1"

    def request(self) -> tuple[str, Headers]:
        return f"{self.base_url()}/models", {"x-token": self.secret("workspace_token")}


MISTRAL = Provider(
    key="mistral",
    label=_MistralProbe.label,
    config=(
        ConfigKey("base_url", config_checks.url),
        ConfigKey("workspace", config_checks.word, legacy_names=("workspace", "team")),
        TIMEOUT,
    ),
    credentials=(CredentialShape("a workspace token", ("workspace_token",)), API_KEY),
    probe_class=_MistralProbe,
    price_names=("mistral",),
    legacy_names=("mistral", "la_plateforme"),
)


@pytest.fixture
def mistral(enum_alone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """A provider added to enum and registry, which is all that the code needs."""
    monkeypatch.setitem(PROVIDERS, enum_alone, MISTRAL)
    yield MISTRAL
    genai_prices._find.cache_clear()


def test_a_provider_in_enum_and_registry_is_complete(mistral: Provider) -> None:
    assert _problems() == []


def test_the_console_offers_it_and_says_what_it_takes(tenant: CusTenant, mistral: Provider) -> None:
    client = signed_in(make_user("admin", tenant))

    page = client.get("/admin/integrations/cusintegration/add/")

    form = page.context["adminform"].form
    assert ("mistral", "Mistral") in form.fields["provider_type"].choices
    assert "Mistral a workspace token or an API key" in page.content.decode()


def test_the_form_has_a_box_for_each_of_its_keys(mistral: Provider) -> None:
    assert {"config_workspace", "secret_workspace_token"} <= set(provider_boxes())
    assert types_with_config("workspace") == ["mistral"]
    assert types_with_secret("workspace_token") == ["mistral"]


def test_the_api_takes_it_and_its_document_tells_of_it(client: Client, mistral: Provider) -> None:
    fields = IntegrationCreate().fields
    forget_document()
    document = client.get("/api/schema?format=json").json()
    forget_document()
    created = document["components"]["schemas"]["IntegrationCreate"]["properties"]

    assert fields["provider_type"].run_validation("mistral") == "mistral"
    assert "mistral: {workspace_token} or {api_key}" in created["credential"]["description"]


def test_the_service_knows_its_config_and_its_credentials(mistral: Provider) -> None:
    check_config("mistral", {"workspace": "ours", "timeout_seconds": 5})
    check_credential("mistral", {"workspace_token": SECRET})

    with pytest.raises(ValidationError, match="mistral has no such key"):
        check_config("mistral", {"region": "eu-central-1"})
    with pytest.raises(ValidationError, match=r"\{workspace_token\} or \{api_key\}"):
        check_credential("mistral", {"azure_ad_token": SECRET})


def test_its_own_probe_asks_it(mistral: Provider) -> None:
    with RawServer(says(200, {"data": []})) as server:
        http = SafeHttp(private_hosts=frozenset({f"127.0.0.1:{server.port}"}), plain_http=True)
        probe = probe_of("mistral", {"base_url": server.url}, {"workspace_token": SECRET})
        finding = probe.ask(http)

    assert finding.verdict is Verdict.OK
    assert server.headers()["x-token"] == SECRET
    assert effective_origin("mistral", {}) == "https://api.mistral.ai:443"


def test_a_legacy_worker_of_any_of_its_names_becomes_it(mistral: Provider) -> None:
    config = {"provider": "La-Plateforme", "workspace_token": SECRET, "team": "ours", "colour": "x"}

    worker = worker_config({"tenant": "t", "worker_id": "w", "config": config})

    assert worker.provider_type == "mistral"
    assert worker.credential == {"workspace_token": SECRET}
    assert worker.config == {"workspace": "ours"}
    assert worker.notes == ("not carried over: colour",)


def test_its_calls_are_priced_by_the_names_that_it_has_in_genai_prices(
    mistral: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = replace(MISTRAL, key="le_chat", price_names=("anthropic", "mistral"))
    monkeypatch.setitem(PROVIDERS, "le_chat", renamed)
    now = timezone.now()

    price = genai_pricing("mistral-large-latest", "le_chat", now)

    assert price == genai_pricing("mistral-large-latest", "mistral", now)
    assert price is not None
    assert genai_pricing("mistral-large-latest", "openai", now) is None


INCOMPLETE: dict[str, tuple[dict[str, Any], str]] = {
    "no probe": ({"probe_class": Probe}, "has no probe"),
    "another label than in the enum": ({"label": "Le Chat"}, "in ProviderType Mistral"),
    "another key than in the registry": ({"key": "le_chat"}, "stands in PROVIDERS as mistral"),
    "no credential": ({"credentials": ()}, "takes no credential"),
    "no prices": ({"price_names": ()}, "has no prices"),
    "prices of nobody": ({"price_names": ("mistrel",)}, "no provider mistrel"),
    "a legacy name of another": ({"legacy_names": ("claude",)}, "belongs to 2 providers"),
    "a heir that is none": ({"legacy_elsewhere": "customs"}, "which is no provider"),
}


@pytest.mark.parametrize(("fields", "complaint"), INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_the_systems_checks_say_what_a_provider_lacks(
    mistral: Provider, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setitem(PROVIDERS, "mistral", replace(mistral, **fields))

    (problem,) = _problems()

    assert complaint in problem


def test_the_systems_checks_say_that_a_probe_has_no_address(
    mistral: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_MistralProbe, "home", "")

    (problem,) = _problems()

    assert "has no address" in problem


def test_the_systems_checks_say_that_the_enum_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "mistral", MISTRAL)

    (problem,) = _problems()

    assert "not in ProviderType" in problem


def test_the_database_knows_the_types_of_the_enum(tenant: CusTenant) -> None:
    """`makemigrations --check` reports a provider type without its migration."""
    constraints = {one.name: one for one in CusIntegration._meta.constraints}
    known = constraints["cus_integrations_provider_known"]

    assert isinstance(known, CheckConstraint)
    assert known.condition == Q(provider_type__in=list(PROVIDERS))
