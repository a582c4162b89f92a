"""The OpenAPI document: valid, generated from the code, and complete."""

import re

from django.core.management import call_command
from django.test import Client


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
        "/api/v1/cus/price-overrides",
    }
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "401", "413", "503"} <= operation["responses"].keys()


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
