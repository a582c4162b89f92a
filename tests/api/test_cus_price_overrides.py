"""A tenant's own prices over HTTP and in the console: appended, by the right people."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_prices.models import CusPriceOverride
from tests.cus_factories import SdkClient, make_integration, make_tenant, make_user, signed_in

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


def test_a_price_is_limited_to_an_integration_of_its_tenant_alone(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    own, foreign = make_integration(tenant), make_integration()

    refused = _post(client, _body(integration_id=str(foreign.id)))
    created = _post(client, _body(integration_id=str(own.id)))

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["attr"] == "integration_id"
    assert (created.status_code, created.json()["integration_id"]) == (201, str(own.id))
    removed = make_integration(tenant)
    CusIntegrationService(tenant).delete(removed)
    assert _post(client, _body(integration_id=str(removed.id))).status_code == 400


def test_one_moment_holds_a_price_of_each_limit(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    limits: list[dict[str, str]] = [
        {},
        {"provider": "openai"},
        {"provider": "deepseek"},
        {"host": "API.Example.com"},
    ]

    answers = [_post(client, _body(**limit)) for limit in limits]

    assert [answer.status_code for answer in answers] == [201] * 4
    assert answers[-1].json()["host"] == "api.example.com"
    for limit in limits:
        assert _post(client, _body(**limit)).status_code == 400


def test_the_database_takes_one_limit_at_most(tenant: CusTenant) -> None:
    with pytest.raises(IntegrityError, match="cus_price_overrides_scope"), transaction.atomic():
        CusPriceOverride.objects.create(
            tenant=tenant, model="gpt-4o", prices={"input": "1", "output": "2"},
            valid_from=datetime(2026, 11, 1, tzinfo=UTC), provider="openai", host="example.com",
        )  # fmt: skip


def test_a_price_of_before_says_that_it_replaces_the_list(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    old = CusPriceOverride.objects.create(
        tenant=tenant, model="gpt-4o", prices={"input": "1", "output": "2"},
        valid_from=datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip
    _post(client, _body(valid_from="2026-11-02T00:00:00Z"))

    hints = [price["hint"] for price in client.get(URL).json()["results"]]

    assert hints[0] is None
    assert "replaces the whole list" in hints[1]
    page = client.get(f"{ADMIN}{old.id}/change/").content.decode()
    assert "replaces the whole list" in page


def _samples(client: Client, **fields: Any) -> dict[tuple[str | None, str], tuple[Any, Any]]:
    answer = client.post(f"{URL}/preview", _body(**fields), content_type="application/json")
    assert answer.status_code == 200, answer.json()
    return {
        (one["tier"], one["call"]): (one["before"], one["after"])
        for one in answer.json()["sample_calls"]
    }


def test_a_preview_says_what_calls_of_each_tier_cost_and_stores_nothing(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))

    samples = _samples(client, prices={"percent_of_list": "90"})

    plain, cached = (
        "10,000 tokens in, 1,000 out",
        "10,000 tokens in, of them 8,000 cached, 1,000 out",
    )
    assert samples[None, plain] == (3_500_000, 3_150_000)
    assert samples[None, cached] == (2_500_000, 2_250_000)
    assert samples["batch", plain] == (1_750_000, 1_575_000)
    assert samples["priority", plain] == (5_950_000, 5_355_000)
    assert samples[None, "10 searches"] == (10_000_000, 9_000_000)
    assert not CusPriceOverride.objects.exists()


def test_a_preview_compares_with_the_price_that_the_tenant_has_by_then(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    _post(client, _body(prices={"percent_of_list": "50"}))

    later = _samples(client, valid_from="2026-11-02T00:00:00Z", prices={"percent_of_list": "80"})

    assert later[None, "10,000 tokens in, 1,000 out"] == (1_750_000, 2_800_000)


def test_a_preview_of_a_model_without_a_list_price_has_no_before(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))

    samples = _samples(client, model="our-llama", prices={"input": "1", "output": "2"})

    assert samples[None, "10,000 tokens in, 1,000 out"] == (None, 1_200_000)


def test_a_preview_says_what_is_wrong_as_appending_does(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))

    answer = client.post(f"{URL}/preview", _body(prices={}), content_type="application/json")

    assert (answer.status_code, answer.json()["errors"][0]["attr"]) == (400, "prices")


def test_long_prompts_have_a_sample_of_their_own(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))

    samples = _samples(client, model="gpt-5.4", prices={"percent_of_list": "90"})

    assert any("long context" in call for _, call in samples)
    assert all(after < before for before, after in samples.values())


def test_an_operator_says_which_tenant(tenant: CusTenant) -> None:
    operator = signed_in(make_user("operator"))

    assert operator.get(URL).status_code == 400
    assert operator.get(f"{URL}?tenant_id=nonsense").status_code == 400
    missing = operator.get(f"{URL}?tenant_id=00000000-0000-0000-0000-000000000000")
    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("change", "attr"),
    [
        ({"prices": {}}, "prices"),
        ({"prices": {"input": "1"}, "model": "our-llama"}, "prices"),
        ({"prices": {"percent_of_list": "90"}, "model": "our-llama"}, "prices"),
        ({"prices": {"percent_of_list": "1000.5"}}, "prices"),
        ({"prices": {"percent_of_list": "-1"}}, "prices"),
        ({"prices": {"percent_of_list": 90}}, "prices"),
        ({"prices": {"tiers": {"batch": {}}}}, "prices"),
        ({"prices": {"tiers": {"batch": "1"}}}, "prices"),
        ({"prices": {"tiers": {"batch": {"magic": "1"}}}}, "prices"),
        ({"prices": {"tiers": {"Batch!": {"input": "1"}}}}, "prices"),
        ({"prices": {"tiers": {}}}, "prices"),
        ({"prices": {"units": {"searches": "-1"}}}, "prices"),
        ({"prices": {"units": ["searches"]}}, "prices"),
        ({"host": "https://api.example.com/v1"}, "host"),
        ({"host": "api.example.com:443"}, "host"),
        ({"provider": "Open AI"}, "provider"),
        ({"provider": "openai", "host": "api.openai.com"}, "host"),
        ({"integration_id": "nonsense"}, "integration_id"),
        ({"integration_id": "00000000-0000-0000-0000-000000000000"}, "integration_id"),
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


@pytest.mark.parametrize("bad", ["-1", "free", "1e5"])
def test_a_price_that_is_none_is_said_in_the_form(tenant: CusTenant, bad: str) -> None:
    response = signed_in(make_user("admin", tenant)).post(f"{ADMIN}add/", _form(price_input=bad))

    assert response.status_code == 200
    assert "was added successfully" not in response.content.decode()
    assert not CusPriceOverride.objects.exists()


def test_the_form_shows_what_a_price_would_change_before_it_is_appended(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    form = _form(price_input="", price_output="", price_percent="90") | {"_preview": ""}

    page = client.post(f"{ADMIN}add/", form).content.decode()

    assert not CusPriceOverride.objects.exists()
    for text in ("Nothing is saved yet", "$0.035000", "$0.031500", "priority", "10 searches"):
        assert text in page
    assert "choose “exact”" in page
    assert 'value="90"' in page
    assert "Please correct" not in page


def test_a_price_of_tiers_and_units_is_entered_by_the_line(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    own = make_integration(tenant)
    lines = "batch input 1\nbatch output 4\n\nsearches 8"

    client.post(f"{ADMIN}add/", _form(price_others=lines, integration=str(own.id)))

    override = CusPriceOverride.objects.get()
    assert override.prices["tiers"] == {"batch": {"input": "1", "output": "4"}}
    assert override.prices["units"] == {"searches": "8"}
    assert (override.integration, override.replaces_list) == (own, False)
    page = client.get(f"{ADMIN}{override.id}/change/").content.decode()
    assert f"Calls of {own}" in page
    assert "What this price does not name costs the list&#x27;s price." in page
    assert "$0.014000" in page  # a sample call by batch
    assert "batch input $1, batch output $4, searches $8" in client.get(ADMIN).content.decode()


@pytest.mark.parametrize("line", ["searches", "batch input 1 2", "batch magic 1", "searches much"])
def test_a_line_that_is_no_price_is_said_in_the_form(tenant: CusTenant, line: str) -> None:
    client = signed_in(make_user("admin", tenant))

    assert client.post(f"{ADMIN}add/", _form(price_others=line)).status_code == 200
    assert not CusPriceOverride.objects.exists()


def test_the_form_offers_and_takes_integrations_of_the_own_tenant_alone(tenant: CusTenant) -> None:
    foreign = make_integration(name="Somebody else's")
    client = signed_in(make_user("admin", tenant))

    assert foreign.name not in client.get(f"{ADMIN}add/").content.decode()
    assert client.post(f"{ADMIN}add/", _form(integration=str(foreign.id))).status_code == 200
    operator = signed_in(make_user("operator"))
    both = _form(tenant=str(tenant.id), integration=str(foreign.id))
    assert "There is no such integration" in operator.post(f"{ADMIN}add/", both).content.decode()
    assert not CusPriceOverride.objects.exists()


def test_the_same_moment_twice_is_said_in_the_form(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))
    client.post(f"{ADMIN}add/", _form())

    response = client.post(f"{ADMIN}add/", _form(price_input="3"))

    assert response.status_code == 200
    assert "never changed" in response.content.decode()
    assert CusPriceOverride.objects.count() == 1


def test_a_form_without_any_price_is_refused(tenant: CusTenant) -> None:
    empty = _form(price_input="", price_output="")

    response = signed_in(make_user("admin", tenant)).post(f"{ADMIN}add/", empty)

    assert "Name at least one price" in response.content.decode()
    assert not CusPriceOverride.objects.exists()


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
