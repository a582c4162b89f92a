"""Where credentials are kept: within the bounds of ruling C1, and failing in plain words."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.registry import parsed_credential
from integrations.cus_credentials.service import CusCredentialService, check_credential_ref
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web import redaction
from integrations.cus_web.errors import (
    CredentialMissing,
    CredentialRefRefused,
    CredentialStoreUnavailable,
    CredentialUnreadable,
)
from integrations.cus_web.redaction import redact
from tests.cus_factories import make_integration, make_tenant, opened_credential
from tests.services.cus_fake_vault import TOKEN, FakeVault, serving_vault

pytestmark = pytest.mark.django_db


@pytest.fixture
def vault(settings: Settings) -> Iterator[FakeVault]:
    with serving_vault() as served:
        settings.CUS_VAULT_ADDRESS = served.address
        settings.CUS_VAULT_TOKEN = TOKEN
        settings.CUS_VAULT_TIMEOUT_SECONDS = 0.5
        yield served


def _refer(integration: CusIntegration, ref: str) -> None:
    CusCredentialService(integration.tenant).refer(integration, ref)


def _state(integration: CusIntegration) -> str:
    return CusIntegration.objects.get(id=integration.id).credential_state


def _set_ref(integration: CusIntegration, ref: str) -> None:
    """As if it had been set when the rules were wider."""
    CusIntegration.objects.filter(id=integration.id).update(credential_ref=ref)
    integration.refresh_from_db()


# --- What a store's text may be -----------------------------------------------------------------


def test_a_stores_text_is_a_key_or_an_object_of_texts() -> None:
    assert parsed_credential(" sk-plain\n") == {"api_key": "sk-plain"}
    both = '{"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s"}'
    assert parsed_credential(both) == {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s"}


@pytest.mark.parametrize("text", ["", "  ", "{}", '{"api_key": 5}', '{"api_key": ""}', "{broken"])
def test_what_is_no_credential_is_refused_unquoted(text: str) -> None:
    with pytest.raises(CredentialMissing) as caught:
        parsed_credential(text)

    assert not text.strip() or "broken" not in str(caught.value)


# --- The environment ----------------------------------------------------------------------------


def test_a_credential_from_the_environment(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUS_CREDENTIAL_ACME", "sk-from-the-environment")

    _refer(integration, "env://CUS_CREDENTIAL_ACME")

    assert opened_credential(integration) == {"api_key": "sk-from-the-environment"}
    assert not CusCredential.objects.filter(integration=integration).exists()


@pytest.mark.parametrize(
    "ref",
    [
        "env://SECRET_KEY",
        "env://CUS_CREDENTIAL_KEYS",
        "env://CUS_CREDENTIAL_KEYS_FILE",
        "env://CUS_CREDENTIAL_",
        "env://CUS_CREDENTIAL_a",
        "env://CUS_CREDENTIAL_A\n",
        "env://XCUS_CREDENTIAL_A",
        "env:// CUS_CREDENTIAL_A",
        "env:CUS_CREDENTIAL_A",
        "ENV://CUS_CREDENTIAL_A",
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "",
        "db://",
    ],
)
def test_no_other_secret_of_the_server_can_be_named(
    integration: CusIntegration, ref: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CredentialRefRefused):
        check_credential_ref(ref, integration.tenant)
    with pytest.raises(CredentialRefRefused):
        _refer(integration, ref)
    assert opened_credential(integration)


@pytest.mark.parametrize("ref", ["env://SECRET_KEY", "env://CUS_CREDENTIAL_KEYS"])
def test_a_reference_that_got_in_somehow_opens_nothing(
    integration: CusIntegration, ref: str
) -> None:
    _set_ref(integration, ref)

    with pytest.raises(CredentialUnreadable):
        opened_credential(integration)
    assert _state(integration) == "invalid"


def test_a_variable_that_is_not_set_is_a_state_and_a_message(integration: CusIntegration) -> None:
    _refer(integration, "env://CUS_CREDENTIAL_ABSENT")
    version = CusIntegration.objects.get(id=integration.id).config_version

    with pytest.raises(CredentialMissing, match="has no CUS_CREDENTIAL_ABSENT"):
        opened_credential(integration)

    assert _state(integration) == "invalid"
    assert CusIntegration.objects.get(id=integration.id).config_version > version


# --- Our own table ------------------------------------------------------------------------------


def test_what_can_not_be_decrypted_is_a_state_and_a_message(integration: CusIntegration) -> None:
    CusCredential.objects.filter(integration=integration).update(sealed=b"\x01nonsense")

    with pytest.raises(CredentialUnreadable, match="Enter it again"):
        opened_credential(integration)

    assert _state(integration) == "invalid"


def test_a_destroyed_credential_is_gone_from_every_table(integration: CusIntegration) -> None:
    service = CusCredentialService(integration.tenant)
    service.destroy(integration)

    assert not CusCredential.objects.filter(integration=integration).exists()
    with pytest.raises(CredentialMissing):
        opened_credential(integration)


def test_another_tenants_service_opens_nothing(integration: CusIntegration) -> None:
    make_integration(make_tenant())
    stored = CusCredential.objects.get(integration=integration)
    _set_ref(foreign := make_integration(), f"db://{stored.id}")

    with pytest.raises(CredentialMissing):
        opened_credential(foreign)


def test_a_credential_comes_back_into_the_table(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUS_CREDENTIAL_ACME", "sk-from-the-environment")
    _refer(integration, "env://CUS_CREDENTIAL_ACME")

    CusCredentialService(integration.tenant).store(
        integration, {"api_key": "sk-in-the-table-again"}
    )

    integration.refresh_from_db()
    assert integration.credential_ref.startswith("db://")
    assert opened_credential(integration) == {"api_key": "sk-in-the-table-again"}


def test_an_opened_credential_does_not_print_itself(integration: CusIntegration) -> None:
    opened = opened_credential(integration)

    assert "sk-test" not in f"{opened} {opened!r} {opened!s} {[opened]}"
    assert "api_key" in repr(opened)
    assert opened["api_key"] == "sk-test-0123456789abcdef"


def test_what_is_opened_is_known_to_redaction_from_then_on(integration: CusIntegration) -> None:
    stored = {"api_key": "a-plain-word-that-no-pattern-knows"}
    service = CusCredentialService(integration.tenant)
    service.store(integration, stored)
    # As in another process than the one that stored it.
    redaction._remembered.clear()
    assert redact(stored["api_key"]) == stored["api_key"]

    opened_credential(integration)

    assert redact(f"it was {stored['api_key']}") == "it was [masked]"


# --- Vault --------------------------------------------------------------------------------------


def _own(tenant: CusTenant, rest: str = "openai#api_key") -> str:
    return f"vault://secret/cus/{tenant.id}/{rest}"


def test_a_credential_from_vault(
    integration: CusIntegration, vault: FakeVault, settings: Settings
) -> None:
    settings.CUS_VAULT_NAMESPACE = "team-a"
    tenant = integration.tenant
    vault.secrets[f"secret/cus/{tenant.id}/prod/openai"] = {"api_key": "sk-from-vault-123"}

    _refer(integration, _own(tenant, "prod/openai#api_key"))

    assert opened_credential(integration) == {"api_key": "sk-from-vault-123"}
    ((path, headers),) = vault.requests
    assert path == f"/v1/secret/data/cus/{tenant.id}/prod/openai"
    assert (headers["X-Vault-Token"], headers["X-Vault-Namespace"]) == (TOKEN, "team-a")


@pytest.mark.parametrize(
    "value",
    ['{"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s"}',
     {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s"}],
)  # fmt: skip
def test_a_field_may_hold_a_whole_credential(
    integration: CusIntegration, vault: FakeVault, value: object
) -> None:
    vault.secrets[f"secret/cus/{integration.tenant_id}/aws"] = {"credential": value}

    _refer(integration, _own(integration.tenant, "aws#credential"))

    assert opened_credential(integration)["aws_access_key_id"] == "AKIA1"


@pytest.mark.parametrize(
    "ref",
    [
        "vault://secret/cus/{other}/openai#api_key",
        "vault://secret/cus/{own}#api_key",
        "vault://secret/cus/{own}/../{other}/openai#api_key",
        "vault://secret/cus/{own}/./openai#api_key",
        "vault://secret/cus/{own}/..#api_key",
        "vault://secret/cus/{own}//openai#api_key",
        "vault://secret/cus/{own}/%2e%2e/{other}/openai#api_key",
        "vault://secret/cus/{own}%2f..%2f{other}/openai#api_key",
        "vault://secret/cus/{own}/..\\{other}/openai#api_key",
        "vault://secret/cus/{own}/openai",
        "vault://secret/cus/{own}/openai#",
        "vault://secret/cus/{own}/openai#a#b",
        "vault://secret/cus/{own}/#api_key",
        "vault://secret/#/cus/{own}/openai#api_key",
        "vault://secret/cus/{own}/openai?version=1#api_key",
        "vault://secret/cus/{own}/openai#api_key\n",
        "vault://secret/cus/{own} /openai#api_key",
        "vault://secret/cus/{own}/ope\u2024nai#api_key",
        "vault://other/cus/{own}/openai#api_key",
        "vault://secret/data/cus/{own}/openai#api_key",
        "vault://SECRET/cus/{own}/openai#api_key",
        "vault:///secret/cus/{own}/openai#api_key",
        "vault://secret/prefix/cus/{own}/openai#api_key",
        "vault://sys/raw/x#value",
    ],
)
def test_nothing_above_or_beside_the_tenants_own_path_can_be_named(
    integration: CusIntegration, vault: FakeVault, ref: str
) -> None:
    named = ref.format(own=integration.tenant_id, other=uuid.uuid4())

    with pytest.raises(CredentialRefRefused):
        check_credential_ref(named, integration.tenant)
    _set_ref(integration, named)
    with pytest.raises(CredentialUnreadable):
        opened_credential(integration)
    assert vault.requests == []


def test_without_a_path_for_each_tenant_no_reference_is_taken(
    integration: CusIntegration, settings: Settings
) -> None:
    settings.CUS_VAULT_PATH = "cus/"

    with pytest.raises(CredentialRefRefused, match="no tenant has a path of its own"):
        check_credential_ref("vault://secret/cus/openai#api_key", integration.tenant)


@pytest.mark.parametrize("there", [None, {}, {"other": "x"}, {"api_key": ""}, {"api_key": 5}])
def test_a_secret_or_field_that_is_not_there_is_the_credentials_fault(
    integration: CusIntegration, vault: FakeVault, there: dict[str, object] | None
) -> None:
    if there is not None:
        vault.secrets[f"secret/cus/{integration.tenant_id}/openai"] = there

    _refer(integration, _own(integration.tenant))
    with pytest.raises(CredentialMissing, match=r"Put (it|the credential) there"):
        opened_credential(integration)

    assert _state(integration) == "invalid"


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("sealed", "Unseal it"),
        ("broken", "does not answer as it should"),
        ("hung", "does not answer as it should"),
        ("no vault", "no KV version 2"),
        ("moved", "no KV version 2"),
    ],
)
def test_a_vault_in_trouble_says_nothing_about_the_credential(
    integration: CusIntegration, vault: FakeVault, mode: str, says: str
) -> None:
    _refer(integration, _own(integration.tenant))
    vault.mode = mode

    with pytest.raises(CredentialStoreUnavailable, match=says) as caught:
        opened_credential(integration)

    assert caught.value.__cause__ is None
    assert _state(integration) == "unknown"
    assert len(vault.requests) == 1  # a redirect is not followed: it would take the token along


def test_a_vault_that_is_away_or_forbids_says_so(
    integration: CusIntegration, vault: FakeVault, settings: Settings
) -> None:
    _refer(integration, _own(integration.tenant))
    settings.CUS_VAULT_TOKEN = "hvs.another-token"
    with pytest.raises(CredentialStoreUnavailable, match="Check our token and its policy") as seen:
        opened_credential(integration)
    assert "another-token" not in str(seen.value)

    settings.CUS_VAULT_ADDRESS = "http://127.0.0.1:1"
    with pytest.raises(CredentialStoreUnavailable, match="does not answer"):
        opened_credential(integration)

    settings.CUS_VAULT_ADDRESS = ""
    with pytest.raises(CredentialStoreUnavailable, match="CUS_VAULT_ADDRESS is not set"):
        opened_credential(integration)
    assert _state(integration) == "unknown"


def test_the_token_is_read_anew_from_its_file(
    integration: CusIntegration, vault: FakeVault, settings: Settings, tmp_path: Path
) -> None:
    vault.secrets[f"secret/cus/{integration.tenant_id}/openai"] = {"api_key": "sk-from-vault-123"}
    _refer(integration, _own(integration.tenant))
    settings.CUS_VAULT_TOKEN_FILE = str(tmp_path / "token")
    with pytest.raises(CredentialStoreUnavailable, match="can't be read"):
        opened_credential(integration)

    (tmp_path / "token").write_text(f"{TOKEN}\n")

    assert opened_credential(integration) == {"api_key": "sk-from-vault-123"}


def test_without_the_extra_it_says_what_to_install(
    integration: CusIntegration, vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refer(integration, _own(integration.tenant))
    monkeypatch.setitem(sys.modules, "hvac", None)

    with pytest.raises(CredentialStoreUnavailable, match=r"aos-customer-integrations\[vault\]"):
        opened_credential(integration)
