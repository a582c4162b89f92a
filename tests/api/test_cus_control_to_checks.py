"""What people change in the control plane decides the very next check, and is on record."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.models import CusCredential
from integrations.cus_health.service import CusHealthService
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import ENFORCEMENT, SdkClient, make_user, signed_in

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1/cus/integrations"
CONSOLE = "/admin/integrations/cusintegration"


@pytest.fixture
def admin(integration: CusIntegration) -> Client:
    return signed_in(make_user("admin", integration.tenant))


def by_api(admin: Client, integration: CusIntegration, cents: int) -> None:
    answer = admin.patch(
        f"{API}/{integration.id}", {"budget_limit_cents": cents}, content_type="application/json"
    )
    assert answer.status_code == 200


def by_console(admin: Client, integration: CusIntegration, cents: int) -> None:
    integration.refresh_from_db()
    form = {
        "name": integration.name,
        "provider_type": integration.provider_type,
        "default_model": "",
        "enforcement_level": integration.enforcement_level,
        "budget": f"{cents / 100:.2f}",
        "budget_basis": integration.budget_basis,
        "estimate_basis": integration.estimate_basis,
        "token_limit_month": "0",
        "rate_limit_rpm": "0",
        "rate_limit_tpm": "0",
        "rate_limit_rpd": "0",
        "seen_version": str(integration.config_version),
    }
    assert admin.post(f"{CONSOLE}/{integration.id}/change/", form).status_code == 302


def verdict(sdk: SdkClient, **fields: Any) -> tuple[str, str]:
    answer = sdk.check(**fields).json()
    return answer["result"], answer["reasons"][0]["code"]


@pytest.mark.parametrize("change", [by_api, by_console])
def test_a_limit_is_audited_and_binds_the_next_check(
    admin: Client,
    sdk: SdkClient,
    integration: CusIntegration,
    change: Callable[[Client, CusIntegration, int], None],
) -> None:
    assert verdict(sdk) == ("allowed", "all_checks_passed")
    version = sdk.check().json()["config_version"]

    change(admin, integration, 1)
    refused = sdk.check(estimated_cost_cents=2).json()
    change(admin, integration, 5_000)

    assert (refused["result"], refused["config_version"]) == ("blocked", version + 1)
    assert verdict(sdk, estimated_cost_cents=2)[0] == "allowed"
    limits = [
        entry.changes["budget_limit_cents"]
        for entry in CusAuditEntry.objects.order_by("created_at", "id")
        if "budget_limit_cents" in entry.changes
    ]
    assert [(one["from"], one["to"]) for one in limits[-2:]] == [(0, 1), (1, 5_000)]


def test_levels_are_climbed_one_by_one_and_each_decides_at_once(
    admin: Client, sdk: SdkClient, integration: CusIntegration
) -> None:
    def climb(level: str) -> int:
        return int(
            admin.patch(
                f"{API}/{integration.id}",
                {"enforcement_level": level},
                content_type="application/json",
            ).status_code
        )

    by_api(admin, integration, 1)
    dear = {"estimated_cost_cents": 2}
    assert climb("visibility") == 200
    assert verdict(sdk, **dear)[0] == "allowed"
    assert climb("warn") == 409
    assert verdict(sdk, **dear)[0] == "allowed"
    for level, result in [
        ("control_plane", "allowed"), ("warn", "warned"), ("throttle", "throttled"),
    ]:  # fmt: skip
        assert climb(level) == 200
        assert verdict(sdk, **dear)[0] == result

    CusIntegration.objects.filter(id=integration.id).update(coverage_percent="94.99")
    assert climb("block") == 409
    assert verdict(sdk, **dear)[0] == "throttled"
    CusIntegration.objects.filter(id=integration.id).update(coverage_percent="95.00")
    assert climb("block") == 200
    assert verdict(sdk, **dear)[0] == "blocked"


@pytest.mark.parametrize(
    ("act", "code"), [("disable", "integration_disabled"), ("delete", "integration_not_found")]
)
def test_an_integration_that_is_stopped_or_deleted_lets_nothing_in_from_that_moment(
    admin: Client, sdk: SdkClient, integration: CusIntegration, act: str, code: str
) -> None:
    assert verdict(sdk)[0] == "allowed"

    url = f"{API}/{integration.id}"
    answer = admin.delete(url) if act == "delete" else admin.post(f"{url}/{act}")

    assert answer.status_code in (200, 204)
    after = sdk.check()
    # A deleted integration's keys are dead within two seconds; until then it refuses itself.
    if after.status_code == 200:
        assert (after.json()["result"], after.json()["reasons"][0]["code"]) == (
            "hard_blocked",
            code,
        )
    else:
        assert (act, after.status_code) == ("delete", 401)


def test_a_credential_that_health_finds_invalid_stops_calls(
    sdk: SdkClient, integration: CusIntegration
) -> None:
    assert verdict(sdk)[0] == "allowed"
    CusCredential.objects.all().delete()

    CusHealthService(integration.tenant).test(integration, now=timezone.now())

    assert verdict(sdk) == ("hard_blocked", "credentials_invalid")
    assert sdk.client.get(f"{ENFORCEMENT}/status").json()["result"] == "hard_blocked"


@pytest.mark.parametrize("known", [None, "97.25", "100.00"])
def test_status_says_the_coverage_as_a_number(
    sdk: SdkClient, integration: CusIntegration, known: str | None
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(coverage_percent=known)

    coverage = sdk.client.get(f"{ENFORCEMENT}/status").json()["coverage_percent"]

    assert coverage == (None if known is None else float(known))
