"""The console: the right people see the right rows, and no page changes a fact."""

import uuid

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_factories import (
    SdkClient,
    make_integration,
    make_tenant,
    make_user,
    record,
    signed_in,
)

pytestmark = pytest.mark.django_db

INTEGRATIONS = "/admin/integrations/cusintegration/"
USAGE = "/admin/telemetry/cusllmusage/"
PAGES = [INTEGRATIONS, USAGE]


@pytest.fixture
def foreign() -> CusIntegration:
    """An integration of another tenant, with a call."""
    integration = make_integration(make_tenant(), name="Foreign one")
    SdkClient.of(integration).report(record(call_id="foreign-call"))
    return integration


@pytest.fixture
def own(integration: CusIntegration, sdk: SdkClient) -> CusIntegration:
    """An integration of `tenant`, with a call."""
    sdk.report(record(call_id="own-call"))
    return integration


def _page(user: CusUser, url: str) -> str:
    response = signed_in(user).get(url)
    assert response.status_code == 200, (url, response.status_code)
    return response.content.decode()


@pytest.mark.parametrize("role", ["admin", "member"])
def test_people_of_a_tenant_see_their_own_rows_alone(
    role: str, tenant: CusTenant, own: CusIntegration, foreign: CusIntegration
) -> None:
    user = make_user(role, tenant)

    assert own.name in _page(user, INTEGRATIONS)
    assert foreign.name not in _page(user, INTEGRATIONS)
    assert "own-call" in _page(user, USAGE)
    assert "foreign-call" not in _page(user, USAGE)


@pytest.mark.parametrize("role", ["operator", "support"])
def test_operator_and_support_see_every_tenant(
    role: str, own: CusIntegration, foreign: CusIntegration
) -> None:
    user = make_user(role)

    for name in (own.name, foreign.name):
        assert name in _page(user, INTEGRATIONS)
    for call in ("own-call", "foreign-call"):
        assert call in _page(user, USAGE)


def test_the_pages_of_one_row_obey_the_same_scope(
    tenant: CusTenant, own: CusIntegration, foreign: CusIntegration
) -> None:
    client = signed_in(make_user("admin", tenant))
    own_row = CusLLMUsage.objects.get(call_id="own-call")
    foreign_row = CusLLMUsage.objects.get(call_id="foreign-call")

    assert client.get(f"{INTEGRATIONS}{own.id}/change/").status_code == 200
    assert client.get(f"{USAGE}{own_row.id}/change/").status_code == 200
    # Django's admin answers for a row that it can't find with a way back to the index.
    for missing in (
        f"{INTEGRATIONS}{foreign.id}/change/",
        f"{USAGE}{foreign_row.id}/change/",
        f"{USAGE}{uuid.uuid4()}/change/",
        f"{USAGE}nonsense/change/",
    ):
        assert client.get(missing).status_code == 302


@pytest.mark.parametrize("role", ["operator", "support", "admin", "member"])
def test_nobody_adds_changes_or_deletes_a_fact(
    role: str, tenant: CusTenant, own: CusIntegration
) -> None:
    user = make_user(role, tenant if role in ("admin", "member") else None)
    client = signed_in(user)
    row = CusLLMUsage.objects.get().id

    assert client.get(f"{USAGE}add/").status_code == 403
    assert client.post(f"{USAGE}add/", {"model": "x"}).status_code == 403
    assert client.post(f"{USAGE}{row}/change/", {"model": "x"}).status_code == 403
    assert client.post(f"{USAGE}{row}/delete/", {"post": "yes"}).status_code == 403
    client.post(USAGE, {"action": "delete_selected", "_selected_action": [str(row)], "post": "yes"})
    assert CusLLMUsage.objects.get().model != "x"


def test_who_has_no_role_sees_nothing(own: CusIntegration) -> None:
    nobody = make_user("nobody")

    for page in PAGES:
        assert signed_in(nobody).get(page).status_code == 403


def test_who_is_not_signed_in_is_sent_to_the_login(client: Client) -> None:
    for page in PAGES:
        response = client.get(page)
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


def test_people_of_a_closed_tenant_see_nothing(tenant: CusTenant, own: CusIntegration) -> None:
    user = make_user("admin", tenant)
    tenant.closed_at = tenant.created_at
    tenant.save()

    assert signed_in(user).get(INTEGRATIONS).status_code == 403


def test_no_page_shows_a_credential_or_its_reference(own: CusIntegration) -> None:
    user = make_user("operator")

    for url in (INTEGRATIONS, f"{INTEGRATIONS}{own.id}/change/"):
        html = _page(user, url)
        assert own.credential_ref not in html
        assert "sk-test" not in html


@pytest.mark.parametrize(
    "query",
    [
        "credential_ref__startswith=db",
        "stored_credential__hint=cdef",
        "sdk_keys__hint=x",
        "created_by__password__startswith=argon2",
    ],
)
def test_hidden_columns_cannot_be_asked_for_by_url(own: CusIntegration, query: str) -> None:
    response = signed_in(make_user("operator")).get(f"{INTEGRATIONS}?{query}")

    assert response.status_code in (302, 400)


@pytest.mark.parametrize(
    "url",
    [
        f"{INTEGRATIONS}?provider_type__regex=(",
        f"{INTEGRATIONS}?status__exact=%00",
        f"{INTEGRATIONS}?q=%00",
        f"{INTEGRATIONS}export/?status__exact=%00",
        f"{INTEGRATIONS}export/?q=%00",
        "/admin/autocomplete/?app_label=integrations&model_name=cussdkkey"
        "&field_name=integration&term=%00",
        f"{USAGE}?policy_result__range=1",
        f"{USAGE}?policy_result__exact=%00",
        f"{USAGE}?q=%00",
        f"{USAGE}?p=999999999999999999999",
    ],
)
def test_no_address_that_a_viewer_types_breaks_a_page(own: CusIntegration, url: str) -> None:
    assert signed_in(make_user("support")).get(url).status_code in (200, 302, 400)


def test_no_row_that_is_chosen_by_hand_breaks_an_action(own: CusIntegration) -> None:
    chosen = {"action": "revoke_keys", "_selected_action": ["nonsense"]}

    answer = signed_in(make_user("operator")).post("/admin/integrations/cussdkkey/", chosen)

    assert answer.status_code in (200, 302)


def test_a_call_is_found_by_its_id(own: CusIntegration, sdk: SdkClient) -> None:
    sdk.report(record(call_id="another-call"))

    html = _page(make_user("support"), f"{USAGE}?q=own-call")

    assert "own-call" in html
    assert "another-call" not in html


def test_the_exact_cost_is_shown_to_the_microcent(sdk: SdkClient) -> None:
    sdk.report(record(model="gpt-4o-mini", tokens_in=1, tokens_out=0))
    sdk.report(record(model="unheard-of", cost_cents=None))

    html = _page(make_user("support"), USAGE)

    assert "$0.00000015" in html
    assert "no price known" in html


@pytest.mark.parametrize("page", PAGES)
def test_a_page_takes_as_many_queries_for_fifty_rows_as_for_one(
    page: str,
    tenant: CusTenant,
    own: CusIntegration,
    sdk: SdkClient,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    client = signed_in(make_user("support"))
    client.get(page)
    with django_assert_max_num_queries(12) as captured:
        client.get(page)
        few = len(captured)
    for _ in range(20):
        make_integration(tenant)
    sdk.report_batch(*(record() for _ in range(40)))
    with django_assert_max_num_queries(few):
        client.get(page)


def test_signing_in_works_with_the_address_in_any_case(client: Client) -> None:
    user = make_user("operator")

    response = client.post(
        "/admin/login/?next=/admin/", {"username": user.email.upper(), "password": "correct horse"}
    )

    assert response.status_code == 302
    assert client.get("/admin/").status_code == 200


def test_scripts_are_never_inline(own: CusIntegration) -> None:
    client = signed_in(make_user("operator"))

    policy = client.get("/admin/")["Content-Security-Policy"]

    (scripts,) = [part for part in policy.split("; ") if part.startswith("script-src ")]
    assert "'unsafe-inline'" not in scripts
