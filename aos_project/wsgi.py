"""Django as a WSGI application, for servers that buffer bodies themselves; we serve `cus_web`."""

import gc
import os
from collections.abc import Iterable
from contextlib import closing
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
# Loads every view now, not while the first caller of each process waits for it.
resolve("/healthz")

# What is loaded by now stays for good; the collector need not walk through it at each turn,
# which costs an ingest worker more than decoding what it is sent.
gc.collect()
gc.freeze()


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Django's answer: in one piece, with its length, unless it is made while it is sent.

    granian sends a list at once, and fetches anything else piece by piece, to send it in chunks:
    for a small answer most of its own work.
    """
    response = _django(environ, start_response)
    if not isinstance(response, HttpResponse):
        return response
    with closing(response):
        return [response.content]
