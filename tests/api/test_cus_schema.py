"""The OpenAPI document: valid, generated from the code, and complete."""

import re

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from tests.cus_factories import make_user


def test_the_document_is_valid_and_has_no_warnings() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", "/dev/null")


def test_every_operation_tells_of_its_errors(client: Client, db: None) -> None:
    response = client.get("/api/schema?format=json")
    document = response.json() if response.status_code == 200 else {}

    assert set(document["paths"]) >= {
        "/api/v1/cus/telemetry/llm-usage",
        "/api/v1/cus/telemetry/llm-usage/batch",
        "/api/v1/cus/integrations",
        "/api/v1/cus/integrations/{integration_id}",
        "/api/v1/cus/integrations/{integration_id}/enable",
        "/api/v1/cus/integrations/{integration_id}/disable",
        "/api/v1/cus/integrations/{integration_id}/health",
        "/api/v1/cus/integrations/{integration_id}/limits",
        "/api/v1/cus/integrations/{integration_id}/test",
        "/api/v1/cus/members",
        "/api/v1/cus/members/{member_id}",
        "/api/v1/cus/display-rates",
        "/api/v1/cus/price-overrides",
        "/api/v1/cus/price-overrides/preview",
    }
    for path in document["paths"].values():
        for operation in path.values():
            assert {"401", "403", "406", "503"} <= operation["responses"].keys()


@pytest.mark.parametrize(
    ("method", "path", "errors"),
    [
        ("get", "integrations", "400 401 403 404 406 500 503"),
        ("post", "integrations", "400 401 403 404 406 409 411 413 415 500 503"),
        ("get", "integrations/{integration_id}", "401 403 404 406 500 503"),
        (
            "patch",
            "integrations/{integration_id}",
            "400 401 403 404 406 409 411 412 413 415 500 503",
        ),
        ("delete", "integrations/{integration_id}", "401 403 404 406 500 503"),
        ("post", "integrations/{integration_id}/enable", "400 401 403 404 406 409 500 503"),
        ("post", "integrations/{integration_id}/test", "401 403 404 406 429 500 503"),
        ("post", "tokens", "400 401 403 406 409 411 413 415 500 503"),
        ("delete", "tokens/{token_id}", "401 403 404 406 500 503"),
        ("post", "telemetry/llm-usage", "400 401 403 406 409 411 413 415 429 500 503"),
        ("post", "enforcement/lease", "400 401 403 406 411 413 415 500 503"),
        ("delete", "enforcement/lease/{lease_id}", "400 401 403 404 406 411 413 415 429 500 503"),
        ("post", "telemetry/llm-usage/batch", "400 401 403 406 411 413 415 429 500 503"),
    ],
)
def test_an_operation_tells_of_the_errors_that_it_can_have_and_no_others(
    method: str, path: str, errors: str, client: Client, db: None
) -> None:
    document = client.get("/api/schema?format=json").json()

    described = document["paths"][f"/api/v1/cus/{path}"][method]["responses"]
    assert sorted(one for one in described if one >= "400") == errors.split()
    for status in errors.split():
        shape = described[status]["content"]["application/json"]["schema"]["$ref"]
        assert shape.endswith("/ErrorResponse")


@pytest.mark.parametrize("query", ["format=zzz", "format=json&version=%0a", "lang=%00", "lang=zz"])
@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
def test_no_query_breaks_the_document_and_its_errors_are_json(
    path: str, query: str, client: Client, db: None
) -> None:
    response = client.get(f"{path}?{query}", headers={"Authorization": "Bearer ended"})

    if path == "/api/schema" and query == "format=zzz":
        assert response.status_code == 404
        assert response["Content-Type"] == "application/json"
        assert response.json()["errors"][0]["code"] == "not_found"
    else:
        assert response.status_code == 200


def test_an_answer_in_a_form_that_there_is_not_is_refused_in_json(client: Client) -> None:
    for path in ("/api/schema", "/api/docs", "/api/v1/cus/tokens"):
        response = client.get(path, headers={"Accept": "image/png"})
        assert response.status_code == 406
        assert response.json()["type"] == "client_error"


def test_a_list_is_described_as_the_pages_that_it_is(client: Client, db: None) -> None:
    document = client.get("/api/schema?format=json").json()

    for path in ("integrations", "members", "price-overrides"):
        answer = document["paths"][f"/api/v1/cus/{path}"]["get"]["responses"]["200"]
        name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        described = document["components"]["schemas"][name]["properties"]
        assert described.keys() == {"next", "previous", "results"}


def test_a_credential_is_in_no_answer_that_the_document_describes(client: Client, db: None) -> None:
    schemas = client.get("/api/schema?format=json").json()["components"]["schemas"]

    assert "credential" not in schemas["IntegrationOutput"]["properties"]
    assert schemas["IntegrationCreate"]["properties"]["credential"]["writeOnly"] is True


def test_the_documents_pages_ask_nobody_elses_server(client: Client, db: None) -> None:
    page = client.get("/api/docs").content.decode()
    script = client.get("/api/docs?script").content.decode()

    addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page + script)
    assert addresses
    assert [one for one in addresses if not re.match(r"/(?!/)", one)] == []
    assert "cdn" not in (page + script).lower()


@pytest.mark.parametrize("method", ["get", "head", "post", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("path", ["schema", "schema?format=json", "docs", "docs?script"])
def test_closed_the_document_answers_as_what_there_is_not(
    path: str, method: str, client: Client, settings: Settings
) -> None:
    settings.CUS_OPEN_API_DOCS = False

    ask = getattr(client, method)
    closed, unknown = ask(f"/api/{path}"), ask("/api/nothing")

    assert closed.status_code == unknown.status_code == 404
    assert closed["Content-Type"] == unknown["Content-Type"] == "application/json"
    if method != "head":
        assert closed.json() == unknown.json()


def test_closed_the_document_is_shown_to_no_operator_either(
    db: None, client: Client, settings: Settings
) -> None:
    settings.CUS_OPEN_API_DOCS = False
    client.force_login(make_user("operator"))

    assert client.get("/api/schema").status_code == 404


def test_a_path_that_there_is_not_leads_to_the_document_only_where_that_is_open(
    client: Client, settings: Settings
) -> None:
    assert "/api/docs" in client.get("/api/nothing").json()["errors"][0]["detail"]

    settings.CUS_OPEN_API_DOCS = False

    assert "/api/docs" not in client.get("/api/nothing").json()["errors"][0]["detail"]
