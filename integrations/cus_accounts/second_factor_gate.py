"""Keep a session out that has shown a password alone where a second factor is due."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from integrations.cus_accounts.second_factor_service import CusSecondFactorService

# The pages that signing in or out needs, and the pages that need no sign-in.
_OPEN = frozenset(
    {
        "admin:login",
        "admin:logout",
        "admin_password_reset",
        "password_reset_done",
        "password_reset_confirm",
        "password_reset_complete",
        "cus-second-factor",
        "cus-second-factor-setup",
        "cus-prove",
        "healthz",
        "readyz",
        "metrics",
        "schema",
        "docs",
    }
)


class CusSecondFactorGate:
    """Middleware: redirects people who have shown only a password to the second factor.

    For the API such a session is not signed in. API tokens pass, because making a token needs the
    second factor.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_view: Any) -> HttpResponse | None:
        match = request.resolver_match
        if (match and match.view_name in _OPEN) or not second_factor_is_due(request):
            return None
        if request.path_info.startswith("/api/"):
            request.user = AnonymousUser()
            return None
        query = urlencode({"next": request.get_full_path()})
        return HttpResponseRedirect(f"{reverse('cus-second-factor')}?{query}")


def second_factor_is_due(request: HttpRequest) -> bool:
    """Whether a signed-in person has yet to show a second factor.

    All people need a second factor if CUS_REQUIRE_TOTP is on; otherwise only people who have set up
    a second factor need it.
    """
    user: Any = request.user
    if not user.is_authenticated or user.is_verified():
        return False
    return settings.CUS_REQUIRE_TOTP or CusSecondFactorService(user).is_set_up()
