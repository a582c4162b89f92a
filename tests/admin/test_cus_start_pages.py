"""Guided creation: a provider, a credential, its test, limits, a key, and the first call."""

import re
from typing import Any

import pytest
from django.test import Client

from integrations.cus_accounts.models import CusMembership, CusTenant
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.snippets import Snippet, snippets
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.registry import PROVIDERS
from tests.cus_factories import (
    SdkClient,
    browser_of,
    make_integration,
    make_tenant,
    make_user,
    opened_credential,
    record,
    sent_mails,
)
from tests.cus_proofs import access_rows, stale

pytestmark = pytest.mark.django_db
_OTHER_RATES = {"rate_limit_tpm": "0", "rate_limit_rpd": "0"}
START = "/admin/start/"
KEY = re.compile(r"[0-9a-f-]{36}:[0-9a-f-]{36}:aosk_\w+")


@pytest.fixture
def admin(tenant: CusTenant) -> Client:
    return browser_of("admin", tenant)


def text_of(client: Client, address: str, **query: Any) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def step_of(integration: CusIntegration, step: str) -> str:
    return f"{START}{integration.id}/{step}/"


def test_a_newcomer_goes_from_a_provider_to_the_first_call(
    admin: Client, tenant: CusTenant
) -> None:
    for key, provider in PROVIDERS.items():
        assert f'href="{START}new/{key}/"' in text_of(admin, START)
        assert provider.label in text_of(admin, START)

    entered = {"name": "Chat", "secret_api_key": "sk-ant-0123456789"}
    answer = admin.post(f"{START}new/anthropic/", entered)
    integration = CusIntegration.objects.get(tenant=tenant)
    assert answer["Location"] == step_of(integration, "test")
    assert dict(opened_credential(integration)) == {"api_key": "sk-ant-0123456789"}

    limits = {
        "budget_limit_cents": "25.50",
        "token_limit_month": "0",
        "rate_limit_rpm": "60",
    } | _OTHER_RATES
    answer = admin.post(step_of(integration, "limits"), limits)
    assert answer["Location"] == step_of(integration, "key")
    integration.refresh_from_db()
    assert (integration.budget_limit_cents, integration.rate_limit_rpm) == (2550, 60)
    assert integration.status == "enabled"

    page = admin.post(step_of(integration, "key")).content.decode()
    assert "Waiting for the first call" in page
    keys = set(KEY.findall(page))
    assert len(keys) == 1
    assert "no-store" in admin.post(step_of(integration, "key")).headers["Cache-Control"]

    waiting = text_of(admin, step_of(integration, "call"))
    assert f'data-cus-poll="{step_of(integration, "call")}"' in waiting
    assert SdkClient(keys.pop()).report(record(call_id="hello-1")).status_code == 201
    arrived = text_of(admin, step_of(integration, "call"))
    assert "hello-1" in arrived
    assert "data-cus-poll" not in arrived


def test_the_key_is_shown_once(admin: Client, integration: CusIntegration) -> None:
    issued = KEY.search(admin.post(step_of(integration, "key")).content.decode())
    assert issued

    again = text_of(admin, step_of(integration, "key"))

    assert not KEY.search(again)
    assert f"aosk_…{CusSdkKey.objects.get().hint}" in again
    assert "&lt;your SDK key&gt;" in again


def test_a_third_living_key_is_refused_in_words(admin: Client, integration: CusIntegration) -> None:
    for _ in range(2):
        admin.post(step_of(integration, "key"))

    page = admin.post(step_of(integration, "key")).content.decode()

    assert "two living SDK keys" in page
    assert CusSdkKey.objects.count() == 2


@pytest.mark.parametrize(
    ("provider", "entered", "words"),
    [
        ("openai", {"name": "A"}, "This field is required."),
        ("openai", {"name": "A", "secret_api_key": "two words"}, "without spaces"),
        ("azure_openai", {"name": "A", "secret_api_key": "k" * 20}, "This field is required."),
        (
            "azure_openai",
            {"name": "A", "secret_api_key": "k" * 20, "config_base_url": "http://10.0.0.1"},
            "https",
        ),
    ],
)
def test_a_refusal_stands_at_its_box_and_nothing_is_made(
    provider: str, entered: dict[str, str], words: str, admin: Client
) -> None:
    answer = admin.post(f"{START}new/{provider}/", entered)

    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not CusIntegration.objects.exists()


def test_a_taken_name_is_refused_and_the_credential_is_not_sent_back(
    admin: Client, integration: CusIntegration
) -> None:
    entered = {"name": integration.name, "secret_api_key": "sk-never-sent-back"}

    page = admin.post(f"{START}new/openai/", entered).content.decode()

    assert "Choose another" in page
    assert "sk-never-sent-back" not in page


def test_a_refused_credential_is_entered_again_and_can_not_be_passed_by(
    admin: Client, integration: CusIntegration
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(
        status="created",
        credential_state="invalid",
        health_message="401",
        health_checked_at="2026-11-01T00:00Z",
    )

    assert "Enter another credential" in text_of(admin, step_of(integration, "test"))
    limits = {
        "budget_limit_cents": "0",
        "token_limit_month": "0",
        "rate_limit_rpm": "0",
    } | _OTHER_RATES
    assert "credential" in admin.post(step_of(integration, "limits"), limits).content.decode()
    answer = admin.post(step_of(integration, "credential"), {"secret_api_key": "sk-another-key"})

    assert answer["Location"] == step_of(integration, "test")
    integration.refresh_from_db()
    assert dict(opened_credential(integration)) == {"api_key": "sk-another-key"}


@pytest.mark.parametrize("page", ["new/openai/", "{id}/credential/", "{id}/key/"])
def test_a_proof_is_asked_for_before_credentials_and_keys(
    page: str, integration: CusIntegration, tenant: CusTenant
) -> None:
    client = stale(make_user("admin", tenant))
    address = START + page.format(id=integration.id)
    before = access_rows()

    assert client.get(address)["Location"].startswith("/admin/prove/")
    sent = client.post(address, {"name": "typed", "secret_api_key": "sk-0123456789"})

    assert "Prove it in another tab" in sent.content.decode()
    if page == "new/openai/":
        assert 'value="typed"' in sent.content.decode()
    assert access_rows() == before


def test_a_proof_is_asked_for_before_a_customer_is_made() -> None:
    client = stale(make_user("operator"))
    before = access_rows()
    entered = {"name": "Umbrella", "time_zone": "UTC", "email": "ada@example.org"}

    assert client.get(f"{START}customer/")["Location"].startswith("/admin/prove/")
    sent = client.post(f"{START}customer/", entered)

    assert "Prove it in another tab" in sent.content.decode()
    assert access_rows() == before
    assert not CusTenant.objects.exists()


def test_an_operator_makes_a_customer_in_one_flow() -> None:
    client = browser_of("operator")
    assert f'href="{START}customer/"' in text_of(client, START)

    entered = {
        "name": "Umbrella",
        "time_zone": "Europe/Berlin",
        "email": "ada@umbrella.example.com",
    }
    answer = client.post(f"{START}customer/", entered)

    tenant = CusTenant.objects.get(name="Umbrella")
    assert tenant.time_zone == "Europe/Berlin"
    assert CusMembership.objects.get(tenant=tenant).role == "admin"
    assert sent_mails()[-1].to == ["ada@umbrella.example.com"]
    assert answer["Location"] == f"{START}?tenant={tenant.id}"
    assert f'href="{START}new/openai/?tenant={tenant.id}"' in text_of(client, answer["Location"])
    chosen = text_of(client, f"{START}new/openai/?tenant={tenant.id}")
    assert re.search(rf'value="{tenant.id}"\s+selected', chosen)
    first = {"tenant": tenant.id, "name": "First", "secret_api_key": "sk-0123456789"}
    client.post(f"{START}new/openai/", first)
    assert CusIntegration.objects.get().tenant == tenant


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("name", "Taken", "Choose another"),
        ("time_zone", "Mars/Olympus", "zone"),
        ("email", "nobody", "valid email"),
    ],
)
def test_a_customer_is_made_whole_or_not_at_all(name: str, value: str, words: str) -> None:
    make_tenant("Taken")
    entered = {"name": "New", "time_zone": "UTC", "email": "ada@example.org"} | {name: value}

    page = browser_of("operator").post(f"{START}customer/", entered).content.decode()

    assert words in page
    assert CusTenant.objects.count() == 1
    assert not sent_mails()


@pytest.mark.parametrize("step", ["credential", "test", "limits", "key", "call"])
def test_another_tenants_integration_does_not_exist(step: str, admin: Client) -> None:
    foreign = make_integration(make_tenant())

    assert admin.get(step_of(foreign, step)).status_code == 404
    assert admin.post(step_of(foreign, step)).status_code in (404, 405)
    assert not CusSdkKey.objects.exists()


def test_a_tenants_admin_can_not_make_an_integration_for_another_tenant(
    admin: Client, tenant: CusTenant
) -> None:
    entered = {"name": "A", "secret_api_key": "sk-0123456789", "tenant": make_tenant().id}

    admin.post(f"{START}new/openai/", entered)

    assert CusIntegration.objects.get().tenant == tenant


def test_the_first_page_leads_a_tenants_admin_to_the_next_step_until_the_first_call(
    admin: Client, tenant: CusTenant
) -> None:
    assert f'href="{START}"' in text_of(admin, "/admin/")
    assert "Set up" in text_of(admin, "/admin/")
    integration = make_integration(tenant, name="Chat")

    assert f'href="{step_of(integration, "test")}"' in text_of(admin, "/admin/")
    assert "Chat, " in text_of(admin, START)
    SdkClient.of(integration).report_calls(1)
    assert "Set up" not in text_of(admin, "/admin/")
    assert "without a call yet" not in text_of(admin, START)


def test_an_unknown_provider_does_not_exist(admin: Client) -> None:
    assert admin.get(f"{START}new/nonsense/").status_code == 404


def test_the_page_of_a_new_key_has_the_programs_too(
    admin: Client, integration: CusIntegration
) -> None:
    entered = {"integration": integration.id, "label": "by hand"}

    page = admin.post("/admin/integrations/cussdkkey/add/", entered).content.decode()

    assert "Ways to capture calls" in page
    assert 'data-cus-copy="#issued-secret"' in page
    assert len(set(KEY.findall(page))) == 1


PROGRAMS = [
    pytest.param(one, id=f"{provider}: {one.title}")
    for provider in PROVIDERS
    for one in snippets(provider, "https://aos.example.com", "t:i:aosk_secret")
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_has_the_address_and_the_key_and_is_sound(program: Snippet) -> None:
    assert "t:i:aosk_secret" in program.text
    assert "https://aos.example.com" in program.text
    if program.is_python:
        compile(program.text, program.title, "exec")
        names = re.search(r"from aos_sdk import (.*)", program.text)
        assert names
        import aos_sdk

        assert {name.strip() for name in names[1].split(",")} <= set(aos_sdk.__all__)
