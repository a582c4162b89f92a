"""Requests for a host that is not ours: a plain 400, without a traceback in the log."""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.urls import get_resolver, get_urlconf


class CusHosts:
    """Middleware: answers a `Host` header that ALLOWED_HOSTS does not name, or that is malformed.

    It must be the first middleware. Otherwise later code that reads the host would raise, and
    Django would log an error with a traceback for every such request of a stranger.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost as error:
            answer: Any = get_resolver(get_urlconf()).resolve_error_handler(400)
            response: HttpResponse = answer(request, exception=error)
            return response
        return self.get_response(request)
