"""The OpenAPI document: valid, generated from the code, and complete."""

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
    }
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "401", "413", "503"} <= operation["responses"].keys()
