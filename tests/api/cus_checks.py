"""What tests of checks over HTTP share."""

from typing import Any

from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import ENFORCEMENT, SdkClient

# A limit that nothing here reaches: without any nothing is held (ruling F5b).
FAR_AWAY = {"token_limit_month": 10**15}


def govern(integration: CusIntegration, **limits: Any) -> None:
    CusIntegration.objects.filter(id=integration.id).update(**limits)


def codes(response: Any) -> list[str]:
    return [reason["code"] for reason in response.json()["reasons"]]


def batch(sdk: SdkClient, *requests: Any) -> Any:
    return sdk.client.post(
        f"{ENFORCEMENT}/batch", {"requests": requests}, content_type="application/json"
    )


def ask(call_id: str, cents: int = 1) -> dict[str, Any]:
    return {"call_id": call_id, "estimated_cost_cents": cents, "estimated_tokens": 1}
