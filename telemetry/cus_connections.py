"""The SDK routes' own connections: a pool of autocommit connections with deadlines.

Django's connection belongs to the request's thread and asks the server at each request whether it
is alive. The pool's connections are shared, keep their prepared statements, and are checked only
after a failure. Without a pool (`CUS_EVIDENCE_POOL_SIZE=0`) requests use Django's connection.
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

# How long a request waits for a connection before the answer is 503.
_WAIT_SECONDS = 5.0
_IDLE_SECONDS = 300.0
# Our statements look rows up by key, whatever the batch and the size of the tables. So each
# connection plans them once, not once a batch (planning takes longer than storing a small batch),
# and never with a scan of a table that was empty when the statement was planned.
_PLANNING = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"

# A cursor of psycopg's, or Django's around one.
Cursor: TypeAlias = Any

_pools: dict[int, ConnectionPool[Any]] = {}
_opening = threading.Lock()


@contextmanager
def evidence_cursor() -> Iterator[Cursor]:
    """A cursor that commits each statement. Raises Django's OperationalError if none is free.

    Use it only for statements that may safely run twice: if a connection breaks and the outcome is
    unknown, the sender delivers again.
    """
    if not settings.CUS_EVIDENCE_POOL_SIZE:
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            yield cursor
        return
    try:
        with _pool().connection() as connection, connection.cursor() as cursor:
            yield cursor
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        # Django's own class, so that views handle a single class for an absent database.
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
    """This process' pool: a fork must not use its parent's connections."""
    pid = os.getpid()
    pool = _pools.get(pid)
    if pool is None:
        with _opening:
            pool = _pools.get(pid) or _open_pool()
            _pools[pid] = pool
    return pool


def _open_pool() -> ConnectionPool[Any]:
    parameters = connections[DEFAULT_DB_ALIAS].get_connection_params()
    # Without Django's arguments, so that connections decode and prepare by psycopg's defaults.
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    parameters["options"] = f"{parameters.get('options', '')} {_PLANNING}"
    return ConnectionPool(
        kwargs={**parameters, "autocommit": True},
        min_size=1,
        max_size=settings.CUS_EVIDENCE_POOL_SIZE,
        timeout=_WAIT_SECONDS,
        max_idle=_IDLE_SECONDS,
        # After a restart the server has closed our connections: find that here, not in a request.
        check=ConnectionPool.check_connection,
        open=True,
        name="evidence",
    )
