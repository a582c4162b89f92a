"""Record the last use of SDK keys, so that people can find unused keys.

The record is coarse, and no request waits for it.
"""

import threading
import uuid
from datetime import datetime, timedelta

import psycopg
import structlog
from django.db import DEFAULT_DB_ALIAS, connections

logger = structlog.get_logger(__name__)

# A write every ten minutes is exact enough.
_EVERY = timedelta(minutes=10)
_MAX_KNOWN = 10_000
_TIMEOUTS = {"connect_timeout": 5, "options": "-c statement_timeout=5s"}
# In the order of their ids, so that two processes can't deadlock.
_WRITE = """
UPDATE cus_sdk_keys AS key SET last_used_at = used.at
FROM (SELECT one.id, uses.at
    FROM unnest(%s::uuid[], %s::timestamptz[]) AS uses(id, at) JOIN cus_sdk_keys AS one USING (id)
    WHERE one.last_used_at IS NULL OR one.last_used_at <= uses.at - %s
    ORDER BY one.id FOR NO KEY UPDATE OF one) AS used
WHERE key.id = used.id
"""


class KeyUses:
    """Stores the last use of keys, in a thread that runs while uses wait to be stored.

    The thread has a connection of its own, so it takes no connection from requests.
    """

    def __init__(self) -> None:
        self._noted: dict[uuid.UUID, datetime] = {}
        self._waiting: dict[uuid.UUID, datetime] = {}
        self._changing = threading.Lock()
        self._writing: threading.Thread | None = None

    def note(self, key_id: uuid.UUID, now: datetime) -> None:
        """Note the use of a key. Never waits and never raises."""
        before = self._noted.get(key_id)
        if before is not None and timedelta() <= now - before < _EVERY:
            return
        with self._changing:
            if len(self._noted) >= _MAX_KNOWN:
                self._noted.clear()
            self._noted[key_id] = self._waiting[key_id] = now
            if self._writing is None or not self._writing.is_alive():
                self._writing = threading.Thread(target=self._write, name="key-use", daemon=True)
                self._writing.start()

    def finish(self) -> None:
        """Wait until all noted uses are stored, or storing has failed."""
        writing = self._writing
        if writing is not None:
            writing.join()

    def forget(self) -> None:
        """Forget when keys were noted, as in a process that has just started."""
        self.finish()
        self._noted.clear()

    def _write(self) -> None:
        while uses := self._next():
            try:
                _store(uses)
            except (psycopg.Error, OSError) as error:
                # The use is lost; the key's next look-up notes another use.
                logger.warning("last use of SDK keys was not noted", error=type(error).__name__)
                for key_id in uses:
                    self._noted.pop(key_id, None)

    def _next(self) -> dict[uuid.UUID, datetime]:
        with self._changing:
            uses, self._waiting = self._waiting, {}
            if not uses:
                # This thread ends; the next noted use starts another thread.
                self._writing = None
            return uses


def _store(uses: dict[uuid.UUID, datetime]) -> None:
    parameters = dict(connections[DEFAULT_DB_ALIAS].get_connection_params())
    for name in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(name, None)
    with psycopg.connect(**parameters | _TIMEOUTS, autocommit=True) as connection:
        connection.execute(_WRITE, [list(uses), list(uses.values()), _EVERY])


key_uses = KeyUses()
