"""Checks over HTTP: what is answered, held, logged and counted (http-api "Enforcement")."""

import pytest

from integrations.cus_models import CusIntegration
from tests.cus_factories import SdkClient, record

pytestmark = pytest.mark.django_db(transaction=True)


def test_smoke(sdk: SdkClient, integration: CusIntegration) -> None:
    r = sdk.check()
    print(r.status_code, r.content)
    assert r.status_code == 200
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=2)
    r = sdk.check("a")
    print(r.json())
    r = sdk.check("b")
    print(r.json())
    print(sdk.report(record(call_id="a", cost_cents=9)).json())
    for p in ("status", "config"):
        r = sdk.client.get(f"/api/v1/cus/enforcement/{p}")
        print(r.status_code, r.content)
    assert 0
