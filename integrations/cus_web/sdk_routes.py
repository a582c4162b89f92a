"""The short way for programs: SDK requests skip what only browsers need."""

from collections.abc import Callable
from functools import lru_cache

from django.http import HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse
from django.urls import ResolverMatch, get_urlconf, resolve

from aos_sdk.cus_wire import (
    ENFORCEMENT_BATCH_PATH,
    ENFORCEMENT_CHECK_PATH,
    LLM_USAGE_BATCH_PATH,
    LLM_USAGE_PATH,
    TELEMETRY_BYPASS_PATH,
)

# In a request's META: when its body was here, on the monotonic clock. It may have waited since.
ARRIVED = "cus.arrived"
_ROUTES = frozenset(
    {
        LLM_USAGE_PATH,
        LLM_USAGE_BATCH_PATH,
        TELEMETRY_BYPASS_PATH,
        ENFORCEMENT_CHECK_PATH,
        ENFORCEMENT_BATCH_PATH,
    }
)


@lru_cache
def _match(path: str, urlconf: str | None) -> ResolverMatch:
    # None of these has a part that varies, so it is looked for once.
    return resolve(path, urlconf)


def is_short(method: str | None, path: str) -> bool:
    """Whether a request goes the short way."""
    return method == "POST" and path in _ROUTES


def call_view(request: HttpRequest) -> HttpResponse:
    """What the view of an SDK route answers."""
    match = request.resolver_match = _match(request.path_info, get_urlconf())
    response: HttpResponse = match.func(request, *match.args, **match.kwargs)
    return response.render() if isinstance(response, SimpleTemplateResponse) else response


class CusSdkRoutes:
    """Middleware: calls the view of an SDK route at once.

    Sessions, CSRF, messages, static files, page policies and request logs would cost a program's
    request more than the view itself and mean nothing to it. What stands before this in
    `MIDDLEWARE` (hosts, https, security headers) applies to it all the same.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_short(request.method, request.path_info):
            return call_view(request)
        return self.get_response(request)
