"""Send a webhook's message, to the public internet and to hosts that an operator named (ruling C6)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings

from integrations.cus_notifications.models import CusNotificationEvent, CusNotificationTarget
from integrations.cus_notifications.payload import body_of, headers_of
from integrations.cus_providers.safe_addresses import (
    AddressRefused,
    UrlRefused,
    check_address,
    parse_target,
)
from integrations.cus_providers.safe_http import (
    CertificateRefused,
    HostUnknown,
    ProviderTimeout,
    ProviderUnreachable,
    SafeHttp,
)
from integrations.cus_web.errors import CredentialUnreadable, CusError

# From the look-up of the name to the last byte of the answer.
SECONDS: Final = 10.0
_ELSEWHERE: Final = (
    "The receiver is not on the public internet, so nothing is sent to it. An operator can allow "
    "its host by name in CUS_WEBHOOK_PRIVATE_HOSTS."
)
# Errors of the guarded client speak of providers.
_WORDS: Final[dict[type[CusError], str]] = {
    AddressRefused: _ELSEWHERE,
    HostUnknown: "The receiver's host name does not exist.",
    CertificateRefused: "The receiver's TLS certificate is not valid for its name.",
    ProviderTimeout: f"The receiver did not answer within {SECONDS:.0f} seconds.",
    ProviderUnreachable: "The receiver can't be reached: no connection, or it broke off.",
    CredentialUnreadable: "The signing secret can't be opened. Rotate the webhook's secret, or "
    "restore the key that sealed it.",
}


class WebhookRefused(CusError):
    """Nothing may be sent to this address."""

    code, attr = "webhook_refused", "address"


@dataclass(frozen=True)
class Outcome:
    """What a try came to, in words."""

    ok: bool
    result: str


def client() -> SafeHttp:
    """The guarded client, with the operator's settings for webhooks."""
    return SafeHttp(
        private_hosts=frozenset(map(str.lower, settings.CUS_WEBHOOK_PRIVATE_HOSTS)),
        plain_http=settings.CUS_ALLOW_HTTP_WEBHOOKS,
        ca_file=settings.CUS_WEBHOOK_CA_FILE or None,
    )


def check_url(url: str) -> None:
    """Raise WebhookRefused for a URL that would be refused at each try.

    What a name leads to is checked at each try, because it may change.
    """
    guard = client()
    try:
        target = parse_target(url, plain_http=guard.plain_http)
        if target.literal:
            check_address(target.literal, named=target.named_in(guard.private_hosts))
    except AddressRefused:
        raise WebhookRefused(_ELSEWHERE) from None
    except UrlRefused as refusal:
        raise WebhookRefused(refusal.detail) from None


def send(target: CusNotificationTarget, event: CusNotificationEvent, *, now: datetime) -> Outcome:
    """Post the event to the webhook. Any status of 200 to 299 is a success; redirects are none."""
    body = body_of(event)
    try:
        headers = headers_of(target, event, body, now=now)
        answer = client().post(target.address, body, headers, seconds=SECONDS)
    except CusError as error:
        return Outcome(ok=False, result=_WORDS.get(type(error), error.detail))
    took = f"after {answer.latency_ms:,} ms"
    if 200 <= answer.status < 300:
        return Outcome(ok=True, result=f"The receiver answered {answer.status} {took}.")
    hint = " Redirects are not followed." if 300 <= answer.status < 400 else ""
    return Outcome(ok=False, result=f"The receiver answered {answer.status} {took}.{hint}")
