"""Record sign-ins and sign-outs, and sign out sessions that were ended."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from integrations.cus_accounts import session_service as sessions
from integrations.cus_accounts.browsers import browser_of
from integrations.cus_accounts.login_throttle import exact_client_address
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import keep_membership
from integrations.cus_web.verdicts import Secret, note_verdict

# Probes must answer while the database is away, also in a browser that is signed in.
_PROBES = frozenset({"healthz", "readyz", "metrics"})


class CusSessionGuard:
    """Middleware: signs an ended session out at its next request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.session.modified:
            sessions.follow(request.session)
        return response

    def process_view(self, request: HttpRequest, *_view: Any) -> None:
        match = request.resolver_match
        if not match or match.view_name not in _PROBES:
            note_verdict(request, Secret.SESSION, accepted=_admits(request))


def _admits(request: HttpRequest) -> bool:
    """Whether the request's session is a person's and open; an ended one is signed out."""
    if not request.session.session_key:
        return False
    user: Any = request.user
    if not user.is_authenticated:
        return False
    if not sessions.is_open(request.session, user, _visit(request), now=timezone.now()):
        request.session.flush()
        request.user = AnonymousUser()
        return False
    keep_membership(user)
    return True


def note_sign_in(request: HttpRequest, user: CusUser, **_signal: Any) -> None:
    """Record a sign-in. Django's signal calls this."""
    sessions.sign_in(request.session, user, _visit(request), now=timezone.now())


def note_sign_out(request: HttpRequest, **_signal: Any) -> None:
    """Record a sign-out. Django's signal calls this before Django deletes the session."""
    sessions.sign_out(request.session, now=timezone.now())
    note_verdict(request, Secret.SESSION, accepted=False)


def _visit(request: HttpRequest) -> sessions.Visit:
    address = exact_client_address(request)
    return sessions.Visit(
        str(address) if address else None, browser_of(request.headers.get("User-Agent", ""))
    )
