"""Django as a WSGI application, for servers that buffer bodies; granian serves `cus_web`."""

import gc
import os
from collections.abc import Iterable
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import resolve

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")

_django = get_wsgi_application()

from aos_project.cus_production import refuse_evidence_owner  # noqa: E402  (needs Django set up)

refuse_evidence_owner()
# Load every view now, and the prices that few calls need; otherwise the first caller of each
# process waits for the loading.
resolve("/healthz")
import_module("telemetry.cus_money.genai_prices")

# Exclude the loaded modules from garbage collection: walking through them at each turn costs an
# ingest worker more than decoding its requests.
gc.freeze()


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Django's answer: in one piece with its length, except for streamed answers.

    granian sends a list at once. It fetches any other iterable piece by piece and sends chunks,
    which for a small answer is most of granian's own work.
    """
    response = _django(environ, start_response)
    if not isinstance(response, HttpResponse):
        return response
    with closing(response):
        return [response.content]
