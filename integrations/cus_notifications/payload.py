"""A webhook's message: its body, and the headers by which the receiver verifies it.

docs/operations.md describes both to receivers, so neither changes without a new version.
"""

import json
from collections.abc import Iterable
from datetime import datetime

from django.conf import settings

from integrations.cus_credentials.models import CusSigningSecret
from integrations.cus_credentials.signing import signature
from integrations.cus_notifications.models import CusNotificationEvent, CusNotificationTarget

EVENT_ID, TIMESTAMP, SIGNATURE = "X-CUS-Event-Id", "X-CUS-Timestamp", "X-CUS-Signature"
_VERSION = "v1"


def body_of(event: CusNotificationEvent) -> bytes:
    """The event as JSON. The same bytes at each try."""
    integration = event.integration
    message = {
        "id": str(event.id),
        "kind": event.kind,
        "tenant_id": str(event.tenant_id),
        "integration_id": str(integration.id) if integration else None,
        "integration": integration.name if integration else None,
        "created_at": event.created_at.isoformat(),
        "summary": event.summary,
        "link": link_of(event),
        "details": event.details,
    }
    return json.dumps(message, ensure_ascii=False).encode()


def link_of(event: CusNotificationEvent) -> str:
    """The address of the console's page that shows the event."""
    return f"{settings.CUS_PUBLIC_URL}{event.path}"


def headers_of(
    target: CusNotificationTarget, event: CusNotificationEvent, body: bytes, *, now: datetime
) -> dict[str, str]:
    """The headers of a try: a signature for each secret that is in force.

    Raises CredentialUnreadable if no key of the ring opens a secret.
    """
    at = str(int(now.timestamp()))
    signed = f"{at}.".encode() + body
    signatures = [f"{_VERSION}={signature(one, signed)}" for one in _secrets(target, now)]
    return {
        "Content-Type": "application/json",
        "User-Agent": "aos-notifications/1",
        EVENT_ID: str(event.id),
        TIMESTAMP: at,
        SIGNATURE: ",".join(signatures),
    }


def _secrets(target: CusNotificationTarget, now: datetime) -> Iterable[CusSigningSecret]:
    if target.secret:
        yield target.secret
    until = target.previous_secret_until
    if target.previous_secret and until and now < until:
        yield target.previous_secret
