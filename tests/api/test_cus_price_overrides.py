"""A tenant's own prices over HTTP and in the console: appended, by the right people."""

from typing import Any

import pytest
from django.test import Client

from integrations.cus_accounts.models import CusTenant
from integrations.cus_prices.models import CusPriceOverride
from tests.cus_factories import SdkClient, make_tenant, make_user, signed_in

pytestmark = pytest.mark.django_db

URL = "/api/v1/cus/price-overrides"
ADMIN = "/admin/integrations/cuspriceoverride/"


def _body(**fields: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": "gpt-4o",
        "prices": {"input": "2.00", "output": "8"},
        "valid_from": "2026-11-01T00:00:00Z",
    }
    return values | fields


def _post(client: Client, body: Any, query: str = "") -> Any:
    return client.post(URL + query, body, content_type="application/json")


def test_a_tenant_admin_appends_a_price_and_the_tenants_people_see_it(tenant: CusTenant) -> None:
    created = _post(signed_in(make_user("admin", tenant)), _body(note="contract 7"))

    assert created.status_code == 201
    assert created.json()["prices"] == {"input": "2.00", "output": "8"}
    listed = signed_in(make_user("member", tenant)).get(URL).json()
    assert [price["id"] for price in listed["results"]] == [created.json()["id"]]
    assert listed["next"] is None


def test_another_tenants_prices_do_not_exist(tenant: CusTenant) -> None:
    _post(signed_in(make_user("admin", tenant)), _body())
    stranger = signed_in(make_user("admin", make_tenant()))

    assert stranger.get(URL).json()["results"] == []
    assert stranger.get(f"{URL}?tenant_id={tenant.id}").json()["results"] == []
    _post(stranger, _body(), f"?tenant_id={tenant.id}")
    assert CusPriceOverride.objects.filter(tenant=tenant).count() == 1


@pytest.mark.parametrize(
    ("who", "reads", "appends"),
    [("operator", 200, 201), ("support", 200, 403), ("member", 200, 403), ("nobody", 403, 403)],
)
def test_each_role_does_what_it_may(tenant: CusTenant, who: str, reads: int, appends: int) -> None:
    user = make_user(who, tenant if who == "member" else None)
    query = f"?tenant_id={tenant.id}"

    assert signed_in(user).get(URL + query).status_code == reads
    assert _post(signed_in(user), _body(), query).status_code == appends


def test_a_program_and_a_stranger_may_do_nothing(sdk: SdkClient) -> None:
    for client in (sdk.client, signed_in(None)):
        assert client.get(URL).status_code == 401
        assert _post(client, _body()).status_code == 401


def test_an_operator_says_which_tenant(tenant: CusTenant) -> None:
    operator = signed_in(make_user("operator"))

    assert operator.get(URL).status_code == 400
    assert operator.get(f"{URL}?tenant_id=nonsense").status_code == 400
    missing = operator.get(f"{URL}?tenant_id=00000000-0000-0000-0000-000000000000")
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("change", "attr"),
    [
        ({"prices": {"input": "1"}}, "prices"),
        ({"prices": {"input": "1", "output": "-1"}}, "prices"),
        ({"prices": {"input": "1e3", "output": "1"}}, "prices"),
        ({"prices": {"input": "NaN", "output": "1"}}, "prices"),
        ({"prices": {"input": "1", "output": "1", "magic": "1"}}, "prices"),
        ({"prices": {"input": "0.0000000001", "output": "1"}}, "prices"),
        ({"prices": {"input": "9999999", "output": "1"}}, "prices"),
        ({"prices": "cheap"}, "prices"),
        ({"model": ""}, "model"),
        ({"model": "m" * 101}, "model"),
        ({"model": "a\x00"}, "model"),
        ({"valid_from": "yesterday"}, "valid_from"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_no_price_is_refused_by_field(
    tenant: CusTenant, change: dict[str, Any], attr: str
) -> None:
    response = _post(signed_in(make_user("admin", tenant)), _body(**change))

    assert response.status_code == 400
    (error,) = response.json()["errors"]
    assert error["attr"].split(".")[0] == attr
    assert error["detail"]
    assert not CusPriceOverride.objects.exists()


def test_a_second_price_from_the_same_moment_is_refused(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    _post(client, _body())

    response = _post(client, _body(prices={"input": "1", "output": "1"}))

    assert response.status_code == 400
    assert "appended, never changed" in response.json()["errors"][0]["detail"]
    assert _post(client, _body(valid_from="2026-11-02T00:00:00Z")).status_code == 201


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_price_is_never_changed(tenant: CusTenant, method: str) -> None:
    client = signed_in(make_user("admin", tenant))

    assert getattr(client, method)(URL).status_code == 405


def _form(**fields: str) -> dict[str, str]:
    return {
        "model": "gpt-4o",
        "price_input": "2.00",
        "price_output": "8",
        "valid_from_0": "2026-11-01",
        "valid_from_1": "00:00:00",
        "note": "",
    } | fields


def test_a_tenant_admin_enters_a_price_in_the_console(tenant: CusTenant) -> None:
    admin = make_user("admin", tenant)
    client = signed_in(admin)
    assert client.get(f"{ADMIN}add/").status_code == 200

    response = client.post(f"{ADMIN}add/", _form(price_cached="0.5"))

    assert response.status_code == 302
    override = CusPriceOverride.objects.get()
    assert (override.tenant, override.created_by) == (tenant, admin)
    assert override.prices == {"input": "2.00", "cached": "0.5", "output": "8"}
    assert "gpt-4o" in client.get(ADMIN).content.decode()
    assert client.get(f"{ADMIN}{override.id}/change/").status_code == 200


def test_a_tenant_admin_cannot_name_another_tenant(tenant: CusTenant) -> None:
    other = make_tenant()

    signed_in(make_user("admin", tenant)).post(f"{ADMIN}add/", _form(tenant=str(other.id)))

    assert CusPriceOverride.objects.get().tenant == tenant


def test_an_operator_chooses_the_tenant_in_the_console(tenant: CusTenant) -> None:
    response = signed_in(make_user("operator")).post(f"{ADMIN}add/", _form(tenant=str(tenant.id)))

    assert response.status_code == 302
    assert CusPriceOverride.objects.get().tenant == tenant


@pytest.mark.parametrize("bad", ["", "-1", "free", "1e5"])
def test_a_price_that_is_none_is_said_in_the_form(tenant: CusTenant, bad: str) -> None:
    response = signed_in(make_user("admin", tenant)).post(f"{ADMIN}add/", _form(price_input=bad))

    assert response.status_code == 200
    assert "was added successfully" not in response.content.decode()
    assert not CusPriceOverride.objects.exists()


def test_the_same_moment_twice_is_said_in_the_form(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    client.post(f"{ADMIN}add/", _form())

    response = client.post(f"{ADMIN}add/", _form(price_input="3"))

    assert response.status_code == 200
    assert "never changed" in response.content.decode()
    assert CusPriceOverride.objects.count() == 1


@pytest.mark.parametrize("role", ["member", "support"])
def test_who_only_reads_is_offered_no_form(tenant: CusTenant, role: str) -> None:
    user = make_user(role, tenant if role == "member" else None)

    assert signed_in(user).get(ADMIN).status_code == 200
    assert signed_in(user).get(f"{ADMIN}add/").status_code == 403


def test_of_many_unknown_fields_ten_are_named_and_the_others_are_counted(
    tenant: CusTenant,
) -> None:
    body = _body(**{f"x{number:02}": 1 for number in range(25)})

    errors = _post(signed_in(make_user("admin", tenant)), body).json()["errors"]

    assert {error["attr"] for error in errors} == {f"x{number:02}" for number in range(10)}
    assert errors[-1]["detail"] == "15 more fields are unknown, too."
