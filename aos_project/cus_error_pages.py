"""Answers to errors outside of views: JSON for programs, pages for people."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

NOTHING_HERE = "There is nothing here."
_DOCS_HINT = "/api/docs lists all routes."


def _error(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse | None:
    """The API's error body, or None if the request is for a page."""
    if not request.path.startswith("/api/"):
        return None
    kind = "server_error" if status >= 500 else "client_error"
    errors = [{"code": code, "detail": detail, "attr": None}]
    return JsonResponse({"type": kind, "errors": errors}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, such as for an unknown host name."""
    detail = "The request is malformed. Check its host, path and headers."
    answer = _error(request, 400, "bad_request", detail)
    return answer or defaults.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    answer = _error(request, 403, "permission_denied", "You may not do this.")
    return answer or defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404. The text names /api/docs only while that is open."""
    hint = f" {_DOCS_HINT}" if settings.CUS_OPEN_API_DOCS else ""
    answer = _error(request, 404, "not_found", NOTHING_HERE + hint)
    return answer or defaults.page_not_found(request, exception)


def server_error(request: HttpRequest, *_args: Any) -> HttpResponse:
    """500: our fault. The log has the details, not the answer."""
    detail = "Something went wrong on our side. Try again; if it stays, tell the operator."
    answer = _error(request, 500, "error", detail)
    return answer or defaults.server_error(request)
