"""The short route of an SDK's request, from granian to its view and back."""

from typing import TYPE_CHECKING, Any

from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections
from django.http import HttpResponse
from django.middleware.security import SecurityMiddleware

from aos_project.cus_web.answers import Answer
from integrations.cus_web.hosts import CusHosts
from integrations.cus_web.sdk_routes import call_view

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class SdkHandler:
    """Answers the requests of `sdk_routes.is_short` without Django's handler.

    Django's signals and the wrapping of each middleware cost a check a third of its processor time.
    This class does the parts that SDK requests need: it checks the host, demands https, sets
    security headers, converts exceptions to answers, and closes connections that are too old.
    """

    def __init__(self) -> None:
        # Both answer synchronously, though Django's types also allow coroutines.
        secured: Any = SecurityMiddleware(convert_exception_to_response(call_view))
        self._handle: Any = convert_exception_to_response(CusHosts(secured))

    def __call__(self, environ: "WSGIEnvironment") -> Answer:
        """The view's answer, whole."""
        close_old_connections()
        response: HttpResponse = self._handle(WSGIRequest(environ))
        return Answer(response.status_code, list(response.items()), response.content)
