"""Limit wrong passwords: the names that django-axes counts by, and the answer when it locks.

A few failures of one person at one address close that pair; many failures at one address close the
address. So one password can't be tried for many people, and an office with forgetful colleagues is
not locked out. Successful sign-ins are not counted. A count by person alone would let a stranger
lock any person out.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import authenticate
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from integrations.cus_accounts.models import CusUser
from integrations.cus_web.addresses import Address, address_of, exact_address_of

# The longest e-mail address; django-axes' column takes little more.
_LONGEST_NAME = 254
# How long a process treats an address as closed before it reads the address's count again.
_REMEMBER_SECONDS = 30
_MOST_REMEMBERED = 10_000


def client_address(request: HttpRequest) -> str | None:
    """The address that a request comes from; of IPv6, its network."""
    return address_of(*_way(request))


def exact_client_address(request: Any) -> Address | None:
    """The address that a request, also REST framework's, comes from."""
    return exact_address_of(*_way(request))


def _way(request: HttpRequest) -> tuple[str, str | None]:
    return request.META.get("REMOTE_ADDR", ""), request.headers.get("X-Forwarded-For")


def login_name(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """The e-mail address of a sign-in, in the spelling by which failures are counted."""
    given = (credentials or {}).get("username") or request.POST.get("username", "")
    # Upper case first, as the database compares: it takes a dotless i for an i.
    return str(given).strip().upper().casefold()[:_LONGEST_NAME]


def is_right_password(request: HttpRequest, person: CusUser, password: str) -> bool:
    """Whether the signed-in person's password is this one, counted like a sign-in.

    After too many wrong passwords django-axes answers the request by `locked_out`.
    """
    proved = authenticate(request, username=person.email, password=password)
    if proved is None or proved.pk != person.pk:
        return False
    name = login_name(request, {"username": person.email})
    AxesProxyHandler.reset_attempts(ip_address=client_address(request), username=name)
    return True


def locked_out(request: HttpRequest, *_details: Any) -> HttpResponse:
    """Answer 429 with the time until the next try."""
    minutes = settings.CUS_LOGIN_COOL_OFF_MINUTES
    context = admin.site.each_context(request) | {"title": "Too many attempts", "minutes": minutes}
    page = render(request, "registration/cus_locked_out.html", context, status=429)
    page["Retry-After"] = str(minutes * 60)
    return page


class CusAddressLimit:
    """Middleware: no sign-in from an address with too many wrong passwords.

    It runs before the session middleware and remembers closed addresses for a while, so a refused
    attempt costs no database statement and no password hash.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        signs_in = request.method == "POST" and request.path == reverse("admin:login")
        if not signs_in or not is_closed(client_address(request)):
            return self.get_response(request)
        minutes = settings.CUS_LOGIN_COOL_OFF_MINUTES
        detail = (
            "Too many wrong passwords came from your network address. Signing in from it is closed "
            f"for up to {minutes} minutes; from other networks it is not affected."
        )
        context = {"title": "Too many attempts", "detail": detail}
        page = render(request, "registration/cus_busy.html", context, status=429)
        page["Retry-After"] = str(minutes * 60)
        return page


_closed_until: dict[str | None, float] = {}


def is_closed(address: str | None) -> bool:
    """Whether an address has had CUS_LOGIN_ADDRESS_FAILURES within the cool-off time.

    All requests whose address is unknown count as one address.
    """
    most = settings.CUS_LOGIN_ADDRESS_FAILURES
    if not most:
        return False
    now = time.monotonic()
    if _closed_until.get(address, 0) > now:
        return True
    since = timezone.now() - timedelta(minutes=settings.CUS_LOGIN_COOL_OFF_MINUTES)
    attempts = AccessAttempt.objects.filter(ip_address=address, attempt_time__gte=since)
    if (attempts.aggregate(count=Sum("failures_since_start"))["count"] or 0) < most:
        return False
    if len(_closed_until) >= _MOST_REMEMBERED:
        _closed_until.clear()
    _closed_until[address] = now + _REMEMBER_SECONDS
    return True


def forget_closed_addresses() -> None:
    """Read every address's count again."""
    _closed_until.clear()
