"""What looks after a running process."""

import gzip
import re
from collections import Counter

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import SdkClient, make_integration, record

pytestmark = pytest.mark.django_db


def _calls(client: Client) -> dict[str, int]:
    """`cus_llm_calls_total` by integration, as Prometheus would read it."""
    text = client.get("/metrics").content.decode()
    calls: Counter[str] = Counter()
    for integration, value in re.findall(
        r'^cus_llm_calls_total\{integration_id="(.+?)",.+\} (.+)$', text, re.MULTILINE
    ):
        calls[integration] += int(value)
    return dict(calls)


def test_a_process_that_answers_is_up(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_server_with_database_migrations_and_partitions_is_ready(client: Client) -> None:
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "checks": {"database": "ok", "migrations": "ok", "partitions": "ok", "broker": "ok"},
    }


def test_a_missing_month_is_told_before_it_hurts(client: Client, settings: Settings) -> None:
    settings.CUS_PARTITIONS_AHEAD_MONTHS = 40

    response = client.get("/readyz")

    assert response.status_code == 503
    assert "partitions are missing for" in response.json()["checks"]["partitions"]


def test_an_absent_broker_is_told_and_not_fatal(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "unix:///nowhere.sock"

    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.json()["checks"]["broker"] == "unreachable (ConnectionError)"


def test_a_migration_that_did_not_run_is_told(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL search_path TO pg_temp")  # as if nothing had been migrated

    response = client.get("/readyz")

    assert response.status_code == 503
    assert "migrations are missing" in response.json()["checks"]["migrations"]


def test_an_integration_has_its_series_before_its_first_call(
    client: Client, integration: CusIntegration
) -> None:
    assert _calls(client) == {str(integration.id): 0}


def test_calls_are_counted_from_the_rows_as_recorded(
    client: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    other = make_integration()
    sdk.report_batch(record(), record(model="o1"), record(provider="custom"))
    sdk.report(record(policy_result="blocked", tokens_in=0, tokens_out=0, cost_cents=0))

    assert _calls(client) == {str(integration.id): 3, str(other.id): 0}


def test_a_replay_counts_no_call(client: Client, sdk: SdkClient) -> None:
    sent = record()
    sdk.report(sent)
    sdk.report(sent)

    assert list(_calls(client).values()) == [1]


def test_metrics_are_for_a_token_or_an_allowed_address(client: Client, settings: Settings) -> None:
    settings.CUS_METRICS_NETWORKS = ["10.0.0.0/8"]
    settings.CUS_METRICS_TOKEN = "scrape-me"

    def status(**headers: str) -> int:
        return client.get("/metrics", headers=headers).status_code

    assert status() == 403
    assert status(Authorization="Bearer wrong") == 403
    assert status(Authorization="Bearer ") == 403
    assert status(Authorization="Bearer scrape-me") == 200
    assert client.get("/metrics", REMOTE_ADDR="10.1.2.3").status_code == 200


def test_without_a_token_no_bearer_is_let_in(client: Client, settings: Settings) -> None:
    settings.CUS_METRICS_NETWORKS = []
    settings.CUS_METRICS_TOKEN = ""

    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 403


@pytest.mark.parametrize(
    ("asked", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("", False),
    ],
)
def test_metrics_are_compressed_for_who_asks(
    client: Client, integration: CusIntegration, asked: str, is_compressed: bool
) -> None:
    answer = client.get("/metrics", headers={"Accept-Encoding": asked})
    assert answer.get("Content-Encoding") == ("gzip" if is_compressed else None)
    assert "Accept-Encoding" in answer["Vary"]
    page = gzip.decompress(answer.content) if is_compressed else answer.content
    assert f'cus_integration_status{{integration_id="{integration.id}"'.encode() in page
    assert page.endswith(b"\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_change_nothing(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
