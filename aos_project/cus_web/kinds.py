"""Classify requests: by kind, which chooses the threads, and by sender, for taking turns."""

from enum import StrEnum
from typing import NamedTuple

from django.conf import settings

from aos_project.cus_web.known_secrets import Digests, KnownSecrets, digests_of
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
    STRANGER = "stranger"


class Turn(NamedTuple):
    """The kind and the sender of a request. `digests` are of secrets that Django will judge."""

    kind: Kind
    sender: str
    digests: Digests = {}


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


def turn_of(request: Request, known: KnownSecrets) -> Turn:
    """The turn of a request whose body has arrived.

    Programs take turns by SDK key, not verified yet: a wrong key counts as a sender, and is refused
    on its turn. People take turns by session or token; what can't be known to be a person's is
    a stranger's, and strangers take turns by address, because they can invent everything else.
    """
    kind = _kind_by_path(request)
    if kind is Kind.CHECK or kind is Kind.INGEST:
        return Turn(kind, _key_in(request) or origin_of(request))
    if kind is not Kind.PEOPLE:
        return Turn(kind, origin_of(request))
    digests = digests_of(request)
    person = known.known_of(digests, request.arrived)
    if person is None:
        return Turn(Kind.STRANGER, origin_of(request), digests)
    return Turn(kind, person, digests)


def _kind_by_path(request: Request) -> Kind:
    """The kind of a request, if a person sent it."""
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


def _key_in(request: Request) -> str:
    headers = request.named
    return headers.get(_KEY_HEADER) or headers.get("authorization", "")


def origin_of(request: Request) -> str:
    """The address that a request comes from, which senders can't invent; for IPv6 its network.

    Behind a proxy, all senders with an unknown address count as one. Empty if there is no address.
    """
    address = address_of(request.peer, request.named.get("x-forwarded-for"))
    return address or ("unknown" if settings.CUS_BEHIND_PROXY else "")
