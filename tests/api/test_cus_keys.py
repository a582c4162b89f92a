"""SDK keys over HTTP: issued once, listed without the secret, revoked; by whom ruling C9 says."""

import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.verifier import forget_sdk_keys, verify_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import SdkClient, make_integration, make_tenant, make_user, signed_in

pytestmark = pytest.mark.django_db


def _url(integration: CusIntegration | uuid.UUID, key: Any = None) -> str:
    wanted = integration.id if isinstance(integration, CusIntegration) else integration
    keys = f"/api/v1/cus/integrations/{wanted}/keys"
    return f"{keys}/{key}" if key else keys


def _post(client: Client, url: str, body: Any = None) -> Any:
    return client.post(url, {} if body is None else body, content_type="application/json")


@pytest.fixture
def admin(tenant: CusTenant) -> Client:
    return signed_in(make_user("admin", tenant))


def test_a_key_is_issued_shown_once_and_works(admin: Client, integration: CusIntegration) -> None:
    body = {"label": "billing", "expires_at": "2100-01-01T00:00:00Z"}

    issued = _post(admin, _url(integration), body)

    assert issued.status_code == 201
    assert issued["Cache-Control"] == "no-store"
    text = issued.json()["key"]
    listed = admin.get(_url(integration))
    (shown,) = listed.json()["results"]
    assert shown == {name: value for name, value in issued.json().items() if name != "key"}
    assert (shown["label"], shown["hint"]) == ("billing", text[-4:])
    assert text.split(":")[2][5:-4] not in listed.content.decode()
    assert verify_sdk_key(text, now=timezone.now())


def test_a_revoked_key_stays_listed_and_is_dead(admin: Client, integration: CusIntegration) -> None:
    issued = _post(admin, _url(integration)).json()
    url = _url(integration, issued["id"])

    assert admin.delete(url).status_code == 204
    assert admin.delete(url).status_code == 204

    forget_sdk_keys()
    assert verify_sdk_key(issued["key"], now=timezone.now()) is None
    assert admin.get(_url(integration)).json()["results"][0]["revoked_at"]


def test_a_third_living_key_is_refused(admin: Client, integration: CusIntegration) -> None:
    for _ in range(2):
        _post(admin, _url(integration))

    refused = _post(admin, _url(integration))

    assert refused.status_code == 409
    assert refused.json()["errors"][0]["code"] == "too_many_sdk_keys"


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"label": 5}, "label"),
        ({"label": "x" * 101}, "label"),
        ({"expires_at": "2000-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2100-01-01"}, "expires_at"),
        ({"secret": "mine"}, "secret"),
    ],
)
def test_what_can_not_be_said_of_a_key_is_refused_by_field(
    admin: Client, integration: CusIntegration, body: Any, attr: str
) -> None:
    refused = _post(admin, _url(integration), body)

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["attr"] == attr
    assert not CusSdkKey.objects.exists()


@pytest.mark.parametrize(
    ("who", "reads", "issues", "revokes"),
    [
        ("operator", 200, 201, 204),
        ("admin", 200, 201, 204),
        ("member", 403, 403, 403),
        ("support", 403, 403, 403),
        ("nobody", 403, 403, 403),
        (None, 403, 403, 403),
    ],
)
def test_each_role_does_what_it_may(
    tenant: CusTenant,
    integration: CusIntegration,
    sdk: SdkClient,
    who: str | None,
    reads: int,
    issues: int,
    revokes: int,
) -> None:
    of_tenant = tenant if who in ("admin", "member") else None
    client = signed_in(make_user(who, of_tenant) if who else None)
    key = CusSdkKey.objects.get()

    # Without a role or a login the answer is 401 where a challenge can be given, else 403.
    unsigned = {403: (401, 403)} if who is None else {}
    assert client.get(_url(integration)).status_code in unsigned.get(reads, (reads,))
    assert _post(client, _url(integration)).status_code in unsigned.get(issues, (issues,))
    assert client.delete(_url(integration, key.id)).status_code in unsigned.get(revokes, (revokes,))


def test_a_program_manages_no_keys(integration: CusIntegration, sdk: SdkClient) -> None:
    key = CusSdkKey.objects.get()

    assert sdk.client.get(_url(integration)).status_code in (401, 403)
    assert _post(sdk.client, _url(integration)).status_code in (401, 403)
    assert sdk.client.delete(_url(integration, key.id)).status_code in (401, 403)
    assert CusSdkKey.objects.get().revoked_at is None


def test_a_foreign_a_missing_and_a_deleted_integration_are_alike(
    admin: Client, integration: CusIntegration
) -> None:
    foreign = make_integration(make_tenant())
    foreign_key = CusSdkKey.objects.create(
        tenant=foreign.tenant, integration=foreign, secret_hash=b"x" * 32, hint="abcd"
    )
    gone = make_integration(integration.tenant)
    CusIntegration.objects.filter(id=gone.id).update(deleted_at=timezone.now())

    for missing in (foreign, uuid.uuid4(), gone):
        assert admin.get(_url(missing)).status_code == 404
        assert _post(admin, _url(missing)).status_code == 404
        assert admin.delete(_url(missing, foreign_key.id)).status_code == 404
    # Nor by way of one's own integration.
    assert admin.delete(_url(integration, foreign_key.id)).status_code == 404
    assert admin.delete(_url(integration, uuid.uuid4())).status_code == 404
    assert CusSdkKey.objects.get().revoked_at is None
