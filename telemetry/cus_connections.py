"""The SDK routes' own connections: a pool of autocommit ones, with deadlines.

Django's connection stays with the request's thread and asks the server at each request
whether it still lives; the pool's are shared, keep their prepared statements, and are
looked at only when they fail. Without a pool (`CUS_EVIDENCE_POOL_SIZE=0`) Django's is used.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, transaction
from psycopg_pool import ConnectionPool, PoolTimeout

# How long a request waits for a connection before it is told to come back.
_WAIT_SECONDS = 5.0
_IDLE_SECONDS = 300.0
# Our statements look things up by key, whatever is in a batch and however large the tables are.
# So they are planned once a connection, not once a batch (for a small one that takes longer
# than all the rest), and never to read a table whole because it was empty at the time.
_PLANNING = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"

# A cursor of psycopg's, or Django's around one.
Cursor: TypeAlias = Any

_pools: dict[int, ConnectionPool[Any]] = {}
_opening = threading.Lock()


@contextmanager
def evidence_cursor() -> Iterator[Cursor]:
    """A cursor that commits each statement. Raises Django's OperationalError if none is to be had.

    A statement on it is one that may safely be done twice: what a broken connection leaves
    open, the sender's next delivery settles.
    """
    if not settings.CUS_EVIDENCE_POOL_SIZE:
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            yield cursor
        return
    try:
        with _pool().connection() as connection, connection.cursor() as cursor:
            yield cursor
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        # Django's own, so that whoever answers requests knows one kind of absence.
        raise OperationalError(type(error).__name__) from error


@contextmanager
def evidence_transaction() -> Iterator[Cursor]:
    """A cursor whose statements are committed together at the end of the block, or none of them."""
    if not settings.CUS_EVIDENCE_POOL_SIZE:
        with transaction.atomic(), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            yield cursor
        return
    with evidence_cursor() as cursor, cursor.connection.transaction():
        yield cursor


def _pool() -> ConnectionPool[Any]:
    """This process' pool: a fork has none of its parent's connections."""
    pid = os.getpid()
    pool = _pools.get(pid)
    if pool is None:
        with _opening:
            pool = _pools.get(pid) or _open_pool()
            _pools[pid] = pool
    return pool


def _open_pool() -> ConnectionPool[Any]:
    parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    # Django's own needs; a bare connection decodes and prepares by psycopg's defaults.
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    parameters["options"] = f"{parameters.get('options', '')} {_PLANNING}"
    return ConnectionPool(
        kwargs={**parameters, "autocommit": True},
        min_size=1,
        max_size=settings.CUS_EVIDENCE_POOL_SIZE,
        timeout=_WAIT_SECONDS,
        max_idle=_IDLE_SECONDS,
        # A server that restarted has closed what we hold: found out here, not by a sender.
        check=ConnectionPool.check_connection,
        open=True,
        name="evidence",
    )
