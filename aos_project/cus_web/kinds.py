"""Classify requests: by kind, which chooses the threads, and by sender, for taking turns."""

from enum import StrEnum

from django.conf import settings

from aos_project.cus_web.scopes import Request
from aos_sdk.cus_wire import (
    ENFORCEMENT_BATCH_PATH,
    ENFORCEMENT_CHECK_PATH,
    ENFORCEMENT_CONFIG_PATH,
    ENFORCEMENT_LEASE_PATH,
    ENFORCEMENT_STATUS_PATH,
    INTEGRATION_KEY_HEADER,
    LLM_USAGE_BATCH_PATH,
    LLM_USAGE_PATH,
    TELEMETRY_BYPASS_PATH,
)
from integrations.cus_web.addresses import address_of


class Kind(StrEnum):
    """A kind of request, which has threads of its own."""

    HEALTH = "health"
    PROBE = "probe"
    CHECK = "check"
    INGEST = "ingest"
    SIGN_IN = "sign_in"
    PEOPLE = "people"


_PROBES = {"/healthz": Kind.HEALTH, "/readyz": Kind.PROBE, "/metrics": Kind.PROBE}
_CHECKS = frozenset(
    {
        ENFORCEMENT_CHECK_PATH,
        ENFORCEMENT_BATCH_PATH,
        ENFORCEMENT_LEASE_PATH,
        ENFORCEMENT_CONFIG_PATH,
        ENFORCEMENT_STATUS_PATH,
    }
)
# Only POST to these is ingest; people read them by GET.
_INGEST = frozenset({LLM_USAGE_PATH, LLM_USAGE_BATCH_PATH, TELEMETRY_BYPASS_PATH})
# Pages on which strangers can cause password hashes or look-ups of codes.
_SIGN_IN = ("/admin/login/", "/admin/password_reset/", "/admin/second-factor/")
_LEASES = f"{ENFORCEMENT_LEASE_PATH}/"
_KEY_HEADER = INTEGRATION_KEY_HEADER.lower()


def kind_of(request: Request) -> Kind:
    """The kind of a request."""
    path = request.path
    if path in _CHECKS or path.startswith(_LEASES):
        return Kind.CHECK
    if path in _PROBES:
        return _PROBES[path]
    if request.method != "POST":
        return Kind.PEOPLE
    if path in _INGEST:
        return Kind.INGEST
    return Kind.SIGN_IN if path.startswith(_SIGN_IN) else Kind.PEOPLE


def sender_of(kind: Kind, request: Request) -> str:
    """The sender of a request, for taking turns: an SDK key, a token or session, or an address.

    The sender is not verified yet: a wrong key counts as a sender, and is refused on its turn. At
    the sign-in the address counts, because strangers can invent cookies.
    """
    headers = request.named
    secret = ""
    if kind is Kind.CHECK or kind is Kind.INGEST:
        secret = headers.get(_KEY_HEADER) or headers.get("authorization", "")
    elif kind is Kind.PEOPLE:
        secret = headers.get("authorization") or headers.get("cookie", "")
    return secret or origin_of(request)


def origin_of(request: Request) -> str:
    """The address that a request comes from, which senders can't invent; for IPv6 its network.

    Behind a proxy, all senders with an unknown address count as one. Empty if there is no address.
    """
    address = address_of(request.peer, request.named.get("x-forwarded-for"))
    return address or ("unknown" if settings.CUS_BEHIND_PROXY else "")
