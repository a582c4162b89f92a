"""Every check and unique constraint of §3, tried by breaking it, past all of our own code."""

import uuid
from typing import Any

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from integrations.cus_accounts.models import CusTenant
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import (
    SdkClient,
    make_integration,
    make_tenant,
    make_user,
    record,
    usage_row,
)

pytestmark = pytest.mark.django_db


def _insert(table: str, **values: Any) -> None:
    columns = ", ".join(values)
    places = ", ".join(["%s"] * len(values))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", list(values.values()))


def _integration(tenant: CusTenant, **values: Any) -> dict[str, Any]:
    row = {
        "id": uuid.uuid4(),
        "tenant_id": tenant.id,
        "name": "Ours",
        "provider_type": "openai",
        "credential_ref": "db://1",
    }
    return row | values


def test_the_columns_that_nobody_names_have_the_defaults_of_the_specification(
    tenant: CusTenant,
) -> None:
    _insert("cus_integrations", **_integration(tenant))

    row = CusIntegration.objects.get()
    assert (row.status, row.health_state, row.credential_state) == ("created", "unknown", "unknown")
    assert (row.budget_limit_cents, row.token_limit_month, row.rate_limit_rpm) == (0, 0, 0)
    assert (row.budget_basis, row.enforcement_level) == ("rounded", "block")
    assert row.estimate_basis == "bound"
    assert (row.config, row.config_version) == ({}, 1)
    assert row.created_at == row.updated_at
    assert row.created_by is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("provider_type", "gemini"),
        ("status", "paused"),
        ("health_state", "fine"),
        ("credential_state", "stale"),
        ("budget_basis", "guessed"),
        ("estimate_basis", "guessed"),
        ("enforcement_level", "hard"),
        ("budget_limit_cents", -1),
        ("token_limit_month", -1),
        ("rate_limit_rpm", -1),
        ("config_version", 0),
        ("coverage_percent", 101),
        ("coverage_percent", -1),
        ("name", ""),
        ("credential_ref", "sk-a-real-key"),
        ("tenant_id", None),
        ("name", None),
        ("provider_type", None),
        ("credential_ref", None),
        ("status", None),
        ("config", None),
    ],
)
def test_an_integration_that_breaks_a_rule_is_refused(
    tenant: CusTenant, column: str, value: object
) -> None:
    with pytest.raises(IntegrityError):
        _insert("cus_integrations", **_integration(tenant, **{column: value}))


def test_an_integration_of_no_tenant_is_refused(db: None) -> None:
    stray = CusTenant(id=uuid.uuid4())

    with pytest.raises(IntegrityError), transaction.atomic():
        _insert("cus_integrations", **_integration(stray))
        connection.check_constraints()


def test_a_name_is_used_once_a_tenant(tenant: CusTenant) -> None:
    _insert("cus_integrations", **_integration(tenant))
    _insert("cus_integrations", **_integration(make_tenant()))

    with pytest.raises(IntegrityError, match="cus_integrations_name"):
        _insert("cus_integrations", **_integration(tenant))


def test_a_deleted_integration_frees_its_name(tenant: CusTenant) -> None:
    _insert("cus_integrations", **_integration(tenant, deleted_at="2026-01-01T00:00:00Z"))
    _insert("cus_integrations", **_integration(tenant, deleted_at="2026-01-02T00:00:00Z"))

    _insert("cus_integrations", **_integration(tenant))

    assert CusIntegration.objects.filter(name="Ours").count() == 3


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ("cus_integrations", "(tenant_id, status)"),
        ("cus_integrations", "(tenant_id, provider_type)"),
        ("cus_integrations", "UNIQUE INDEX cus_integrations_name"),
        ("cus_llm_usage", "(tenant_id, created_at DESC)"),
        ("cus_llm_usage", "(tenant_id, integration_id, created_at DESC)"),
        ("cus_llm_usage", "(tenant_id, agent_id, created_at DESC)"),
        ("cus_llm_usage", "(call_id)"),
        ("cus_llm_usage", "UNIQUE INDEX cus_llm_usage_pkey"),
        ("cus_usage_daily", "(tenant_id, integration_id, date)"),
    ],
)
def test_the_indexes_of_the_specification_exist(db: None, table: str, wanted: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [table])
        definitions = [definition for (definition,) in cursor.fetchall()]

    assert any(wanted in definition for definition in definitions), definitions


def test_people_sign_in_with_one_address_whatever_its_case(db: None) -> None:
    user = make_user("operator")

    with pytest.raises(IntegrityError):
        _insert(
            "cus_users",
            id=uuid.uuid4(),
            email=user.email.upper(),
            password="x",
            is_superuser=False,
            is_staff=False,
            is_active=True,
            is_support=False,
            first_name="",
            last_name="",
            date_joined="2026-01-01T00:00:00Z",
        )


def test_a_person_belongs_to_one_tenant(tenant: CusTenant) -> None:
    member = make_user("member", tenant)

    with pytest.raises(IntegrityError):
        _insert(
            "cus_memberships",
            id=uuid.uuid4(),
            tenant_id=make_tenant().id,
            user_id=member.id,
            role="member",
        )


def test_a_role_is_one_of_those_there_are(tenant: CusTenant) -> None:
    user = make_user("operator")

    with pytest.raises(IntegrityError, match="cus_memberships_role"):
        _insert(
            "cus_memberships",
            id=uuid.uuid4(),
            tenant_id=tenant.id,
            user_id=user.id,
            role="owner",
        )


def test_a_membership_is_somebodys_or_an_invitation(tenant: CusTenant) -> None:
    row = {"tenant_id": tenant.id, "role": "member"}

    with pytest.raises(IntegrityError, match="cus_memberships_somebody"), transaction.atomic():
        _insert("cus_memberships", id=uuid.uuid4(), **row)
    _insert("cus_memberships", id=uuid.uuid4(), invited_email="a@example.com", **row)
    with pytest.raises(IntegrityError, match="cus_memberships_invited_once"):
        _insert("cus_memberships", id=uuid.uuid4(), invited_email="A@EXAMPLE.com", **row)


def test_an_integration_has_one_credential_and_a_key_one_hash(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    ids = {"tenant_id": integration.tenant_id, "integration_id": integration.id}

    with pytest.raises(IntegrityError), transaction.atomic():
        _insert("cus_credentials", id=uuid.uuid4(), sealed=b"x", key_id="k", hint="", **ids)
    key = integration.sdk_keys.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        _insert(
            "cus_sdk_keys",
            id=uuid.uuid4(),
            label="",
            secret_hash=bytes(key.secret_hash),
            hint="",
            **ids,
        )


def test_a_usage_row_has_the_defaults_of_the_specification(integration: CusIntegration) -> None:
    _insert("cus_llm_usage", **usage_row(integration))

    with connection.cursor() as cursor:
        cursor.execute("SELECT policy_result, metadata, created_at = now() FROM cus_llm_usage")
        assert cursor.fetchone() == ("allowed", "{}", True)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("policy_result", "throttled"),
        ("pricing", "guessed"),
        ("call_id", ""),
        ("cost_cents", -1),
        ("cost_microcents", -1),
        ("latency_ms", -1),
        *((f"tokens_{kind}", -1) for kind in (
            "in", "out", "cached", "cache_write", "cache_write_1h", "reasoning",
            "audio_in", "audio_out", "image_in", "total",
        )),
        *((name, None) for name in (
            "id", "tenant_id", "integration_id", "call_id", "provider", "model",
            "tokens_in", "tokens_out", "cost_cents", "created_at", "metadata",
        )),
    ],
)  # fmt: skip
def test_a_usage_row_that_breaks_a_rule_is_refused(
    integration: CusIntegration, column: str, value: object
) -> None:
    with pytest.raises(IntegrityError):
        _insert("cus_llm_usage", **usage_row(integration, **{column: value}))


@pytest.mark.parametrize(
    ("column", "value"), [("tokens_in", 2**31), ("model", "m" * 101), ("call_id", "c" * 101)]
)
def test_a_usage_row_that_is_too_large_is_refused(
    integration: CusIntegration, column: str, value: object
) -> None:
    with pytest.raises(DataError):
        _insert("cus_llm_usage", **usage_row(integration, **{column: value}))


def test_a_month_without_a_partition_takes_no_row(integration: CusIntegration) -> None:
    with pytest.raises(IntegrityError, match="no partition"):
        _insert("cus_llm_usage", **usage_row(integration, created_at="2020-01-01T00:00:00Z"))


def test_a_call_id_is_in_the_ledger_once_an_integration(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    sdk.report(record(call_id="one"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT call_hash FROM cus_call_ledger")
        (call_hash,) = cursor.fetchone()
    entry = {
        "call_hash": call_hash,
        "usage_id": uuid.uuid4(),
        "usage_created_at": "2026-01-01T00:00:00Z",
        "content_hash": uuid.uuid4(),
    }

    ours = {"tenant_id": integration.tenant_id, "integration_id": integration.id}
    _insert("cus_call_ledger", **entry, **ours | {"tenant_id": make_tenant().id})
    _insert("cus_call_ledger", **entry, **ours | {"integration_id": uuid.uuid4()})
    with pytest.raises(IntegrityError):
        _insert("cus_call_ledger", **entry, **ours)


def test_a_day_of_an_integration_is_there_once(integration: CusIntegration) -> None:
    day = {
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "date": "2026-01-01",
    }
    _insert("cus_usage_daily", **day)

    with pytest.raises(IntegrityError):
        _insert("cus_usage_daily", **day)


@pytest.mark.parametrize(
    "column",
    [
        "total_calls",
        "total_tokens_in",
        "total_tokens_out",
        "total_cost_cents",
        "total_cost_microcents",
        "error_count",
        "blocked_count",
    ],
)
def test_a_day_counts_nothing_below_zero(db: None, column: str) -> None:
    integration = make_integration()

    with pytest.raises(IntegrityError, match="cus_usage_daily_counts"):
        _insert(
            "cus_usage_daily",
            tenant_id=integration.tenant_id,
            integration_id=integration.id,
            date="2026-01-01",
            **{column: -1},
        )
