"""Probes of a running process: alive, ready, and metrics."""

import hmac
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from redis import Redis, RedisError

from aos_project.cus_signals import metrics_page
from enforcement.cus_decisions.models import CusEnforcementDecision
from telemetry.cus_clock import database_now
from telemetry.cus_evidence.partitions import TABLE, existing_months, wanted_months
from telemetry.cus_signals.exposition import CONTENT_TYPE

_BROKER_SECONDS = 1
_NEVER = ("q=0", "q=0.0", "q=0.00", "q=0.000")


@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """200 if events can be stored: database, migrations, partitions.

    The answer also shows the broker's state, which is not required.
    """
    checks = {name: _outcome(check) for name, check in _REQUIRED.items()}
    ready = all(outcome == "ok" for outcome in checks.values())
    checks["broker"] = _outcome(_check_broker)
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics, for a bearer of CUS_METRICS_TOKEN or an allowed address."""
    if not (_has_token(request) or _from_allowed_network(request)):
        detail = "Send CUS_METRICS_TOKEN as a bearer token, or allow this address in CUS_METRICS_NETWORKS."
        return HttpResponse(detail + "\n", status=403, content_type="text/plain")
    gzip = _takes_gzip(request)
    headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if gzip else {})
    page = metrics_page(request, database_now(), gzip=gzip)
    return HttpResponse(page, content_type=CONTENT_TYPE, headers=headers)


def _takes_gzip(request: HttpRequest) -> bool:
    """Whether the client asks for gzip; Prometheus does."""
    asked = request.headers.get("Accept-Encoding", "").lower().replace(" ", "")
    codings = (coding.partition(";") for coding in asked.split(","))
    return any(name == "gzip" and weight not in _NEVER for name, _, weight in codings)


class _NotReady(Exception):
    """The process is not ready; the message names what is missing."""


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except _NotReady as error:
        return str(error)
    except (DatabaseError, RedisError, ImproperlyConfigured) as error:
        # Only the class: a message could reveal hosts and users.
        return f"unreachable ({type(error).__name__})"
    return "ok"


def _check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _check_migrations() -> None:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        msg = "migrations are missing: run `manage.py migrate`"
        raise _NotReady(msg)


def _check_partitions() -> None:
    months_needed = set(wanted_months(database_now()))
    for table in (TABLE, CusEnforcementDecision._meta.db_table):
        missing = months_needed - existing_months(table=table)
        if missing:
            months = ", ".join(map(str, sorted(missing)))
            msg = f"partitions are missing for {months} ({table}): is beat running?"
            raise _NotReady(msg)


def _check_broker() -> None:
    with Redis.from_url(settings.REDIS_URL, socket_timeout=_BROKER_SECONDS) as broker:
        broker.ping()


_REQUIRED = {
    "database": _check_database,
    "migrations": _check_migrations,
    "partitions": _check_partitions,
}


def _has_token(request: HttpRequest) -> bool:
    expected = settings.CUS_METRICS_TOKEN
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else ""
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def _from_allowed_network(request: HttpRequest) -> bool:
    networks = [ip_network(text) for text in settings.CUS_METRICS_NETWORKS]
    address = ip_address(request.META["REMOTE_ADDR"])
    return any(address in network for network in networks)
