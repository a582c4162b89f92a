"""The page on a person's own sessions and tokens, and the pages that end sessions."""

import uuid
from datetime import datetime
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from integrations.cus_accounts.models import CusApiToken, CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_accounts.proof_pages import proof_first
from integrations.cus_accounts.session_models import CusSession
from integrations.cus_accounts.session_service import CusSessionService, named_by
from integrations.cus_accounts.token_rights import rights_shown
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_console.actions import Question

_END_ONE = Question(
    "End the session",
    "That browser has to sign in again. API tokens stay.",
    "End it",
    "The session has ended.",
    is_dangerous=True,
)
_END_OTHERS = Question(
    "End all other sessions",
    "All other browsers have to sign in again; this browser stays signed in. API tokens stay.",
    "End all others",
    "All other sessions have ended.",
    is_dangerous=True,
)


@never_cache
@login_required
@require_safe
def sessions_and_tokens(request: HttpRequest) -> HttpResponse:
    """List the person's open sessions and living tokens."""
    now = timezone.now()
    here = named_by(request.session)
    sessions = _service(request).alive(now=now)
    tokens = CusTokenService(_person(request)).alive(now=now)
    context = {
        "title": "Sessions and tokens",
        "sessions": {
            "headers": _SESSION_HEADERS,
            "rows": [_session(row, here) for row in sessions],
        },
        "has_others": any(row.id != here for row in sessions),
        "tokens": {"headers": _TOKEN_HEADERS, "rows": [_token(row) for row in tokens]},
        # The page on tokens is for people with a role alone.
        "has_role": role_of(request.user) is not None,
    }
    return render(request, "admin/cus_sessions.html", admin.site.each_context(request) | context)


@never_cache
@login_required
@proof_first
@require_http_methods(["GET", "POST"])
def end_session(request: HttpRequest, session_id: uuid.UUID) -> HttpResponse:
    """Ask, then end one of the person's own sessions."""
    service, now = _service(request), timezone.now()
    session = service.alive(now=now).filter(id=session_id).first()
    if session is None:
        raise Http404
    if request.method != "POST":
        return _ask(request, _END_ONE, str(session))
    service.end_one(session_id, now=now)
    return _done(request, _END_ONE)


@never_cache
@login_required
@proof_first
@require_http_methods(["GET", "POST"])
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    """Ask, then end all of the person's own sessions but this session."""
    if request.method != "POST":
        return _ask(request, _END_OTHERS, _person(request).email)
    _service(request).end_all(now=timezone.now())
    return _done(request, _END_OTHERS)


_SESSION_HEADERS = ["Browser", "Address", "Signed in (UTC)", "Last seen (UTC)", ""]
_TOKEN_HEADERS = ["Name", "Ends in", "May", "Made (UTC)", "Last used (UTC)", "Expires (UTC)", ""]


def _session(row: CusSession, here: uuid.UUID | None) -> list[Any]:
    end = _link(reverse("cus-session-end", args=[row.id]), "End")
    return [
        row.browser,
        row.address or "Unknown",
        _moment(row.signed_in_at, "Before this was kept"),
        _moment(row.last_seen_at),
        "This session" if row.id == here else end,
    ]


def _token(row: CusApiToken) -> list[Any]:
    page = "admin:integrations_cusapitoken"
    return [
        _link(reverse(f"{page}_change", args=[row.id]), row.name),
        f"…{row.hint}",
        rights_shown(row),
        _moment(row.created),
        _moment(row.last_used_at, "Never"),
        _moment(row.expiry),
        _link(reverse(f"{page}_revoke", args=[row.id]), "End"),
    ]


def _link(url: str, text: str) -> str:
    return format_html('<a class="font-semibold underline" href="{}">{}</a>', url, text)


def _moment(moment: datetime | None, otherwise: str = "") -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else otherwise


def _ask(request: HttpRequest, question: Question, about: str) -> HttpResponse:
    context = {
        "title": question.title,
        "question": question,
        "about": about,
        "back": reverse("cus-sessions"),
    }
    return render(request, "admin/cus_question.html", admin.site.each_context(request) | context)


def _done(request: HttpRequest, question: Question) -> HttpResponse:
    messages.success(request, question.done)
    return HttpResponseRedirect(reverse("cus-sessions"))


def _service(request: HttpRequest) -> CusSessionService:
    person = _person(request)
    return CusSessionService(person, actor=person)


def _person(request: HttpRequest) -> CusUser:
    return cast("CusUser", request.user)
