"""Whose a log line is: every line of a request or a job carries its id, tenant and integration."""

import re
import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bind_contextvars, clear_contextvars, unbind_contextvars

# The id that a proxy gave the request, if it is one that a log can carry.
_UPSTREAM = "HTTP_X_REQUEST_ID"
_AN_ID = re.compile(r"[\w.:-]{1,64}\Z", re.ASCII)


def begin_request(request: HttpRequest) -> None:
    """Forget the request before on this thread, and give this one its id."""
    given = request.META.get(_UPSTREAM, "")
    clear_contextvars()
    bind_contextvars(request_id=given if _AN_ID.match(given) else str(uuid.uuid4()))


def begin_job(job: str, job_id: str) -> None:
    """Forget the job before on this thread, and give this one its name and id."""
    clear_contextvars()
    bind_contextvars(job=job, job_id=job_id)


def note_whose(tenant_id: uuid.UUID | None, integration_id: uuid.UUID | None = None) -> None:
    """Let the lines from here on say whose request or job it is, as far as that is known."""
    known = {"tenant_id": tenant_id, "integration_id": integration_id}
    bind_contextvars(**{name: str(value) for name, value in known.items() if value})


class CusLogContext:
    """Middleware of people's requests, after structlog's own, which gives them their id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # A server that has one set of threads for all may have answered an SDK on this one.
        unbind_contextvars("tenant_id", "integration_id")
        return self.get_response(request)

    def process_view(
        self, _request: HttpRequest, _view: Any, _args: Any, kwargs: dict[str, Any]
    ) -> None:
        """Note the integration that the address names."""
        integration_id = kwargs.get("integration_id")
        if isinstance(integration_id, uuid.UUID):
            note_whose(None, integration_id)
