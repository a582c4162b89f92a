"""A call id is a tenant's own, and counts once however many report it at once (E1, E2)."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import Sum

from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusCallLedger, CusLifetimeTotals, CusLLMUsage
from tests.cus_factories import SdkClient, make_integration, make_tenant, record

pytestmark = pytest.mark.django_db(transaction=True)


def _at_once(clients: list[SdkClient], bodies: list[dict[str, Any]]) -> list[int]:
    """Each client reports its body, all of them at one moment; the statuses."""
    start = Barrier(len(clients))

    def report(client: SdkClient, body: dict[str, Any]) -> int:
        start.wait()
        try:
            return int(client.report(body).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(report, clients, bodies))


def test_fifty_tenants_use_one_call_id_and_have_a_row_each() -> None:
    clients = [SdkClient.of(make_integration(make_tenant())) for _ in range(50)]
    sent = record(call_id="everybody's")

    statuses = _at_once(clients, [sent] * 50)

    assert statuses == [201] * 50
    assert CusLLMUsage.objects.filter(call_id="everybody's").count() == 50
    assert CusLLMUsage.objects.values("tenant_id").distinct().count() == 50
    assert CusCallLedger.objects.count() == 50


def test_of_many_who_report_one_call_at_once_one_is_accepted() -> None:
    integration = make_integration()
    clients = [SdkClient.of(integration) for _ in range(8)]
    for _ in range(10):
        sent = record()
        statuses = _at_once(clients, [sent] * 8)
        assert sorted(statuses) == [200] * 7 + [201]

    assert CusLLMUsage.objects.count() == 10


def test_of_two_who_contradict_each_other_at_once_one_is_told() -> None:
    integration = make_integration()
    clients = [SdkClient.of(integration) for _ in range(2)]
    for _ in range(25):
        sent = record()
        statuses = _at_once(clients, [sent, sent | {"tokens_in": 7}])
        assert sorted(statuses) == [201, 409]

    assert CusLLMUsage.objects.count() == 25


def test_what_two_integrations_report_under_one_call_id_are_two_calls() -> None:
    tenant = make_tenant()
    first, second = (SdkClient.of(make_integration(tenant)) for _ in range(2))
    sent = record()

    for integration in (first, second):
        assert integration.report(sent).status_code == 201
        assert integration.report(sent).status_code == 200
    assert second.report(sent | {"cost_cents": 9}).status_code == 409
    assert CusLLMUsage.objects.count() == CusCallLedger.objects.count() == 2


def test_overlapping_batches_never_deadlock_and_totals_equal_the_rows() -> None:
    integration = make_integration()
    records = [record() for _ in range(60)]
    clients = [SdkClient.of(integration) for _ in range(6)]

    def report(client: SdkClient) -> set[int]:
        try:
            return {
                client.report_batch(*records[start:], *reversed(records[:start])).status_code
                for start in range(0, 60, 10)
            }
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(clients)) as pool:
        assert set.union(*pool.map(report, clients)) == {200}

    assert CusLLMUsage.objects.count() == 60
    _assert_totals_equal_rows(integration)


def test_a_transaction_that_is_rolled_back_counts_nothing() -> None:
    from django.db import transaction

    integration = make_integration()
    client = SdkClient.of(integration)
    client.report(record())
    with transaction.atomic():
        client.report(record())
        transaction.set_rollback(True)

    assert CusLLMUsage.objects.count() == 1
    _assert_totals_equal_rows(integration)


def _assert_totals_equal_rows(integration: CusIntegration) -> None:
    names = ("tokens_in", "tokens_out", "cost_cents", "cost_microcents")
    sums = {name: Sum(name) for name in names}
    rows = CusLLMUsage.objects.filter(integration_id=integration.id)
    totals = CusLifetimeTotals.objects.filter(integration_id=integration.id)
    assert totals.aggregate(**sums) == rows.aggregate(**sums)
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(calls) FROM cus_lifetime_totals")
        assert cursor.fetchone() == (rows.count(),)
