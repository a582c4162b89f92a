"""Notices of an integration, and the rounds of the job that tells people of them."""

from typing import Any

from django.utils import timezone

from integrations.cus_lifecycle.limits import day_start
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_notifications import delivery as delivering
from integrations.cus_notifications.announcing import Notice
from integrations.cus_notifications.delivery import deliver_to, due_webhooks
from integrations.cus_notifications.kinds import Kind
from integrations.cus_notifications.models import CusNotificationDelivery, CusNotificationTarget


def notice(integration: CusIntegration, **values: Any) -> Notice:
    fields: dict[str, Any] = {
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "kind": Kind.LIMIT_80,
        "subject": "budget_limit_cents:1000",
        "window_start": day_start(timezone.now()),
        "summary": "80 % of the budget is taken",
        "path": f"/console/limits/{integration.id}",
        "details": {"level": 80},
    }
    return Notice(**fields | values)


def deliver() -> None:
    """One round of the job, without a broker."""
    delivering.queue_mails()
    delivering.settle_mails()
    for target_id in due_webhooks(timezone.now()):
        deliver_to(target_id)


def log_of(target: CusNotificationTarget) -> list[tuple[str, int]]:
    rows = CusNotificationDelivery.objects.filter(target=target).order_by("created_at")
    return list(rows.values_list("status", "attempts"))


def try_again_now(target: CusNotificationTarget) -> None:
    """As if the wait before the next try were over."""
    CusNotificationTarget.objects.filter(id=target.id).update(retry_at=None, busy_until=None)
