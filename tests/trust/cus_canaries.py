"""Canary credentials, and every place where one could turn up."""

import base64
import io
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis
import structlog
from django.conf import settings
from django.db import connections
from psycopg import sql

from integrations.cus_web.redaction import RedactingFilter, redact_event

# A hint's four characters are shown on purpose; twelve in a row are a leak.
_WINDOW = 12


@dataclass
class Canaries:
    """Secrets that must turn up nowhere, and what was collected from everywhere."""

    values: list[str] = field(default_factory=list)
    places: dict[str, list[str]] = field(default_factory=dict)

    def new(self, prefix: str = "") -> str:
        """Another secret. Without a prefix it does not look like a key."""
        value = prefix + "".join(secrets.choice("ghjkmnpqrstvwxyz") for _ in range(32))
        self.values.append(value)
        return value

    def collect(self, place: str, *found: Any) -> None:
        """Keep what was found at a place, to be searched at the end."""
        self.places.setdefault(place, []).extend(map(str, found))

    def leaks(self) -> list[str]:
        """The places where a canary, or a good part of one, was found; plain, hex or base64."""
        parts = {part for value in self.values for part in _parts(value)}
        word = _words_like(parts)
        found = []
        for place, texts in self.places.items():
            # Most of what is read after one step is what was read after the step before.
            lines = {line for text in texts for line in text.split("\n")}
            words = "\n".join({found_word for line in lines for found_word in word.findall(line)})
            if any(part in words for part in parts):
                found.append(place)
        return found


def _words_like(parts: set[str]) -> re.Pattern[str]:
    """Runs of the parts' own characters, as long as a part at least: a part stands within one.

    Places repeat their words, so the parts are sought in far less text than the lines hold.
    """
    characters = re.escape("".join(sorted(set("".join(parts)))))
    return re.compile(f"[{characters}]{{{min(map(len, parts))},}}")


def _parts(value: str) -> Iterator[str]:
    for start in range(len(value) - _WINDOW + 1):
        part = value[start : start + _WINDOW]
        yield part
        yield part.encode().hex()
    for offset in range(3):
        encoded = base64.b64encode(value.encode()[offset:]).decode()
        yield encoded[: 4 * (_WINDOW // 3)]


def database_dump() -> dict[str, str]:
    """Every row of every table as text, as its superuser sees it."""
    database = str(connections["default"].settings_dict["NAME"])
    dump = {}
    with psycopg.connect(os.environ["CUS_SUPERUSER_URL"], dbname=database) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace"
            " WHERE n.nspname = 'public' AND relkind = 'r'"
        ).fetchall()
        for (name,) in names:
            query = sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(str(name)))
            rows = connection.execute(query).fetchall()
            dump[str(name)] = "\n".join(str(row[0]) for row in rows)
    return dump


def broker_content() -> str:
    """Every key of the broker with its value."""
    client: Any = redis.Redis.from_url(settings.REDIS_URL)
    read = {
        b"string": client.get,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    with client:
        return "\n".join(f"{key!r} {read[client.type(key)](key)!r}" for key in client.scan_iter())


@contextmanager
def everything_logged() -> Iterator[dict[str, io.StringIO]]:
    """What the process logs at any level, as each formatter writes it behind the filter."""
    logging_settings: Any = settings.LOGGING
    configured = logging_settings["formatters"]["line"]
    shared = configured["foreign_pre_chain"]
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    json_line: list[Any] = [
        remove,
        structlog.processors.format_exc_info,
        redact_event,
        structlog.processors.JSONRenderer(),
    ]
    formatters: dict[str, logging.Formatter] = {
        "log, as configured": structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=configured["processors"],
        ),
        "log, in production": structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=json_line
        ),
        "log, plain": logging.Formatter("%(levelname)s %(name)s %(message)s"),
    }
    root, level = logging.getLogger(), logging.getLogger().level
    streams: dict[str, io.StringIO] = {}
    handlers = []
    for name, formatter in formatters.items():
        streams[name] = io.StringIO()
        handler = logging.StreamHandler(streams[name])
        handler.setFormatter(formatter)
        handler.addFilter(RedactingFilter())
        handlers.append(handler)
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield streams
    finally:
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
