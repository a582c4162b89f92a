"""A provider type without rules, prices and a probe is refused everywhere."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from genai_prices.data_snapshot import get_snapshot

from integrations.cus_accounts.models import CusTenant
from integrations.cus_health.service import CusHealthService
from integrations.cus_integrations.serializers import IntegrationCreate
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_integrations.worker_config import PROVIDERS
from integrations.cus_integrations.worker_import import import_workers
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers import probes, rules
from integrations.cus_providers.probe_answers import Verdict
from integrations.cus_providers.rules import RULES, ProviderRules, supported_choices
from integrations.cus_web.errors import ProviderUnsupported
from integrations.cus_web.strict_fields import StrictChoice
from tests.cus_factories import make_integration, make_user, signed_in

pytestmark = pytest.mark.django_db

SECRET = "anything-goes-0123456789"
LEAK = {"api_key": SECRET}
Work = Callable[[], Any]


@pytest.fixture
def enum_alone(monkeypatch: pytest.MonkeyPatch) -> str:
    """A provider type that somebody added to the enum, as a choice of the model, and nowhere else."""
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
    monkeypatch.setitem(PROVIDERS, enum_alone, CusIntegration.Provider(enum_alone))
    text = (
        f'{{"tenant": "{tenant.name}", "worker_id": "w", '
        f'"config": {{"provider": "{enum_alone}", "api_key": "{SECRET}"}}}}'
    )

    (line,) = import_workers(text, apply=True)

    assert "no rules, health check and prices" in line.problem
    assert not CusIntegration.objects.exists()


@pytest.mark.parametrize("missing", ["RULES", "PROBES"])
def test_one_that_exists_is_neither_changed_nor_enabled_nor_asked(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """One of the two is as good as none."""
    disabled = make_integration(integration.tenant)
    service = CusIntegrationService(integration.tenant)
    service.disable(disabled)
    for module in (rules, probes):
        if hasattr(module, missing):
            monkeypatch.setattr(module, missing, {})
    works: list[Work] = [
        lambda: service.change(integration.id, name="New"),
        lambda: service.change(integration.id, config=LEAK),
        lambda: service.change(integration.id, credential=LEAK),
        lambda: service.create(name="Another", provider_type="openai", credential=LEAK),
    ]

    for work in works:
        with pytest.raises(ProviderUnsupported):
            work()

    if missing == "PROBES":
        with pytest.raises(ProviderUnsupported):
            service.enable(disabled)
        check = CusHealthService(integration.tenant).check(integration, now=timezone.now())
        assert check.verdict is Verdict.NOT_CHECKABLE
    assert service.disable(integration).status == "disabled"


def test_a_type_that_nobody_knows_stays_a_validation_error(tenant: CusTenant) -> None:
    with pytest.raises(ValidationError) as refused:
        make_integration(tenant, provider_type="gemini", config={})

    assert list(refused.value.message_dict) == ["provider_type"]


def test_the_systems_checks_name_an_incomplete_type(enum_alone: str) -> None:
    (problem,) = [problem for problem in run_checks() if problem.id == "cus.E004"]

    assert enum_alone in problem.msg


def test_every_type_is_complete() -> None:
    assert supported_choices() == CusIntegration.Provider.choices
    assert [problem for problem in run_checks() if problem.id == "cus.E004"] == []


def test_every_type_names_prices_that_there_are() -> None:
    known = {provider.id for provider in get_snapshot().providers}
    anybodys = [name for name, rules in RULES.items() if rules.priced_as is None]

    assert anybodys == ["custom"]
    assert {rules.priced_as for rules in RULES.values()} - {None} <= known
    with pytest.raises(TypeError, match="priced_as"):
        ProviderRules({}, frozenset(), ())  # type: ignore[call-arg]
