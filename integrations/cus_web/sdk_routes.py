"""Short route for programs: SDK requests skip the middleware that only browsers need."""

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
from integrations.cus_web.log_context import begin_request

# The key in META for when the request's body was complete, on the monotonic clock. The request may
# have waited for a thread since.
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


def key_in(own_header: str, authorization: str) -> str:
    """The SDK key of a request with these headers, or an empty text."""
    if own_header:
        return own_header.strip()
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


@lru_cache
def _match(path: str, urlconf: str | None) -> ResolverMatch:
    # SDK routes have no variable part, so each is resolved only once.
    return resolve(path, urlconf)


def is_short(method: str | None, path: str) -> bool:
    """Whether a request takes the short route."""
    return method == "POST" and path in _ROUTES


def call_view(request: HttpRequest) -> HttpResponse:
    """The answer of the view of an SDK route."""
    begin_request(request)
    match = request.resolver_match = _match(request.path_info, get_urlconf())
    response: HttpResponse = match.func(request, *match.args, **match.kwargs)
    return response.render() if isinstance(response, SimpleTemplateResponse) else response


class CusSdkRoutes:
    """Middleware: calls the view of an SDK route at once.

    Sessions, CSRF, messages, static files, page policies and request logs are of no use to a
    program, and would cost its request more than the view. The middleware before this in
    `MIDDLEWARE` (hosts, https, security headers) applies to SDK routes, too.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if is_short(request.method, request.path_info):
            return call_view(request)
        return self.get_response(request)
