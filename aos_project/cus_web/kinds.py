"""Classify requests: by kind, which chooses the threads, and by sender, for taking turns."""

from enum import StrEnum
from typing import NamedTuple

from django.conf import settings

from aos_project.cus_web.known_keys import KnownKeys
from aos_project.cus_web.known_secrets import Digests, KnownSecrets, digest_of, digests_of
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
from integrations.cus_web.sdk_routes import key_in


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
    """The kind and the sender of a request, and the address that it comes from.

    `digests` are of a session and a token, `key` is of an SDK key: Django will judge them.
    """

    kind: Kind
    sender: str
    origin: str
    digests: Digests = {}
    key: str = ""


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


def turn_of(request: Request, people: KnownSecrets, keys: KnownKeys) -> Turn:
    """The turn of a request whose body has arrived.

    Programs take turns by SDK key, not verified yet, and people by session or token. What can't be
    known to be a person's is a stranger's, and so is a wrong key, as far as that can be known.
    Strangers take turns by address, because they can invent everything else.
    """
    kind, origin = _kind_by_path(request), origin_of(request)
    if kind is Kind.CHECK or kind is Kind.INGEST:
        return _programs_turn(kind, request, origin, keys)
    if kind is Kind.HEALTH or kind is Kind.PROBE:
        # An address's scrape, which takes longer, does not delay the address's other probes.
        return Turn(kind, f"{origin} {request.path}", origin)
    if kind is not Kind.PEOPLE:
        return Turn(kind, origin, origin)
    digests = digests_of(request)
    person = people.known_of(digests, request.arrived)
    if person is None:
        return Turn(Kind.STRANGER, origin, origin, digests)
    return Turn(kind, person, origin, digests)


def _programs_turn(kind: Kind, request: Request, origin: str, keys: KnownKeys) -> Turn:
    headers = request.named
    text = key_in(headers.get(_KEY_HEADER, ""), headers.get("authorization", ""))
    if not text:
        return Turn(Kind.STRANGER, origin, origin)
    key = digest_of(text)
    if keys.is_strangers(key, origin, request.arrived):
        return Turn(Kind.STRANGER, origin, origin, key=key)
    return Turn(kind, key, origin, key=key)


def _kind_by_path(request: Request) -> Kind:
    """The kind of a request, if a person or a program sent it."""
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


def origin_of(request: Request) -> str:
    """The address that a request comes from, which senders can't invent; for IPv6 its network.

    Behind a proxy, all senders with an unknown address count as one. Empty if there is no address.
    """
    address = address_of(request.peer, request.named.get("x-forwarded-for"))
    return address or ("unknown" if settings.CUS_BEHIND_PROXY else "")
