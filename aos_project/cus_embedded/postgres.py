"""The embedded PostgreSQL: a private cluster, reached through a private socket."""

import shutil
import signal
from pathlib import Path
from typing import LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from aos_project.cus_embedded.errors import DidNotStart, DiskFull
from aos_project.cus_embedded.home import Home
from aos_project.cus_embedded.process import Program, end_orphan, launch

# Fast shutdown, then immediate shutdown, after which the next start recovers the data. SIGTERM
# would wait for clients.
_STOP = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))
MAX_CONNECTIONS = 200
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    # Log no statements: they can contain a password or a customer's data.
    "log_min_error_statement": "panic",
}
# For clusters whose data may be lost.
_FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    # In the cluster's folder, so that removing the folder also removes the shared memory.
    "dynamic_shared_memory_type": "mmap",
}
_MB = 1024 * 1024


class Postgres:
    """Prepare it, run its program, wait until it is ready, use its environment."""

    name = "postgres"

    def __init__(
        self, home: Home, *, fast: bool = False, connections: int = MAX_CONNECTIONS
    ) -> None:
        self._home = home
        self._data = home.folder / "postgres"
        self._fast = fast
        self.log = home.folder / "logs" / "postgres.log"
        settings = _SETTINGS | {
            "unix_socket_directories": str(home.sockets),
            "max_connections": str(connections),
        }
        settings |= _FAST if fast else {}
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        self.program = Program(
            name=self.name,
            command=[str(home.postgres_programs / "postgres"), "-D", str(self._data), *options],
            cwd=home.folder,
            stop=_STOP,
            env={"LC_ALL": "C"},
            account=home.account,
            on_orphan=signal.SIGINT,
        )

    def prepare(self) -> None:
        """Prepare everything that the server needs to start. Makes half-made clusters anew."""
        end_orphan("PostgreSQL", self._data / "postmaster.pid", self._data, _STOP)
        self._require_space()
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        if not self._data.exists():
            self._make_cluster()
        self._forget_stale_pid()

    def ready(self) -> bool:
        """Whether the server answers. After its first answer, set up roles and database."""
        try:
            with self._connect("postgres") as connection:
                self._settle(connection)
        except psycopg.OperationalError:
            return False
        return True

    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.url("app", "cus"),
            "DATABASE_OWNER_URL": self.url("owner", "cus"),
        }

    def url(self, who: str, database: str) -> str:
        """An address that libpq and django-environ read the same way."""
        password = self._home.passwords[who]
        host = quote(str(self._home.sockets), safe="")
        return f"postgres://cus_{who}:{password}@/{database}?host={host}"

    def _connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.url("superuser", database), autocommit=True, connect_timeout=5)

    def _require_space(self) -> None:
        need = 100 if self._data.exists() else 500
        free = shutil.disk_usage(self._home.folder).free // _MB
        if free < need:
            raise DiskFull(folder=self._home.folder, free_mb=free, need_mb=need)

    def _make_cluster(self) -> None:
        """Make the cluster under a temporary name, so that a cluster is whole or absent."""
        making = self._home.folder / "postgres.making"
        shutil.rmtree(making, ignore_errors=True)
        making = self._home.own_folder(making.name)
        password = making.with_name("postgres.password")
        password.unlink(missing_ok=True)
        try:
            self._hand_over(password)
            self._initdb(making, password)
        finally:
            password.unlink(missing_ok=True)
        making.rename(self._data)

    def _hand_over(self, file: Path) -> None:
        file.touch(mode=0o600)
        file.write_text(self._home.passwords["superuser"])
        if self._home.account:
            shutil.chown(file, self._home.account.uid, self._home.account.gid)

    def _initdb(self, folder: Path, password: Path) -> None:
        command = [
            str(self._home.postgres_programs / "initdb"),
            *("-D", str(folder), "--username=cus_superuser", f"--pwfile={password}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            *(["--no-sync"] if self._fast else []),
        ]
        program = Program(
            "initdb", command, self._home.folder, env={"LC_ALL": "C"}, account=self._home.account
        )
        log = self.log.with_name("initdb.log")
        with log.open("wb") as output:
            code = launch(program, output).wait()
        if code != 0:
            raise DidNotStart(name="PostgreSQL", log=log_end(log))

    def _forget_stale_pid(self) -> None:
        """Remove the pid file after a crash. The pid may belong to another program by now, which
        PostgreSQL would take for a server. `prepare` has checked that no server uses the folder."""
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _settle(self, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
        """Set up roles, database and rights (ruling E5) at each start. So an interrupted first
        start is completed, and a newer version of the product gets what it needs."""
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        for role in ("cus_owner", "cus_app", "cus_decider"):
            if role not in roles:
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        for who in ("owner", "app"):
            connection.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(f"cus_{who}"), sql.Literal(self._home.passwords[who])
                )
            )
        connection.execute("GRANT cus_decider TO cus_app")
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        if "cus" not in databases:
            self._settle_schema("template1")  # so that a test's database gets the same rights
            connection.execute("CREATE DATABASE cus OWNER cus_owner")
        connection.execute("REVOKE ALL ON DATABASE cus FROM PUBLIC")
        connection.execute("GRANT CONNECT ON DATABASE cus TO cus_app")
        self._settle_schema("cus")

    def _settle_schema(self, database: str) -> None:
        statements: tuple[LiteralString, ...] = (
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "GRANT USAGE, CREATE ON SCHEMA public TO cus_owner",
            "GRANT USAGE ON SCHEMA public TO cus_app, cus_decider",
        )
        with self._connect(database) as connection:
            for statement in statements:
                connection.execute(statement)


def log_end(path: Path, lines: int = 12) -> str:
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return "(empty)"
    return "\n".join(text.splitlines()[-lines:]) or "(empty)"
