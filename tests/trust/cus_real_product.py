"""The product on servers of its own that may be killed: a PostgreSQL that syncs, and granian.

What a campaign knows of it is HTTP and SQL. Start and restart from the main thread: the
kernel ends a server whose starting thread is gone.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import psycopg

from aos_project.cus_embedded import Postgres, Valkey, throw_away_home
from aos_project.cus_embedded.passwords import product_secrets
from aos_project.cus_embedded.process import launch, stop, wait_for
from aos_project.cus_embedded.sentinel import Sentinel
from aos_project.cus_embedded.throw_away import running
from tests.cus_prepared_database import PreparedDatabase
from tests.e2e.cus_served import ROOT, ServedProduct
from tests.trust.cus_door import Door

_START_SECONDS = 60.0
_PATIENCE = 10
_SPARE_TENANTS = 12

Row = tuple[Any, ...]


class RealProduct:
    """PostgreSQL with fsync on, Valkey, and web servers; all of it gone afterwards.

    The database is a copy of `prepared`, which takes less time than to make and migrate one.
    """

    def __init__(
        self,
        *,
        web_servers: int = 2,
        prepared: PreparedDatabase | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` are settings of the product that differ from its defaults."""
        self._stack = ExitStack()
        self._home = throw_away_home()
        if prepared:
            passwords = self._home.passwords | {"superuser": prepared.superuser_password}
            self._home = replace(self._home, passwords=passwords)
        self._prepared = prepared
        self._postgres = Postgres(self._home)
        self._web_servers = web_servers
        self._settings = dict(environment or {})
        self.environment: dict[str, str] = {}
        self.webs: list[ServedProduct] = []
        self._sweeper: subprocess.Popen[bytes] | None = None
        # Lists of a tenant's keys, by how many integrations the tenant has.
        self._unused_keys: dict[int, list[list[str]]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._sentinel = self._watch_folders(stack)
            self._start_servers(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def make_keys(self, tenants: int = 1, integrations: int = 1) -> list[list[str]]:
        """SDK keys of new integrations, a list for each new tenant."""
        unused = self._unused_keys.setdefault(integrations, [])
        if len(unused) < tenants:
            # Some for later too: to start Django takes longer than to make a tenant.
            number = tenants + _SPARE_TENANTS
            program = ("-m", "tests.trust.cus_make_keys", str(number), str(integrations))
            unused += json.loads(self._run(*program))
        return [unused.pop() for _ in range(tenants)]

    def sweep_holds(self) -> None:
        """What beat does every minute."""
        sweeper = self._sweeper or self._start_sweeper()
        assert sweeper.stdin
        assert sweeper.stdout
        sweeper.stdin.write(b"\n")
        sweeper.stdin.flush()
        assert sweeper.stdout.readline() == b"swept\n"

    def _start_sweeper(self) -> "subprocess.Popen[bytes]":
        """A process that sweeps whenever it is told: to start Django takes longer than to sweep."""
        sweeper = self._sweeper = subprocess.Popen(
            [sys.executable, "-m", "tests.trust.cus_sweeper"],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        # At the end of its input it ends.
        self._stack.callback(sweeper.communicate)
        return sweeper

    def _run(self, *program: str) -> bytes:
        """Run one of the product's Python programs; returns what it printed."""
        return subprocess.run(
            [sys.executable, *program],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    def door(self, number: int, key: str) -> Door:
        """To a web server; one number leads to one server."""
        return Door(self.webs[number % len(self.webs)].port, key)

    def connect(self) -> "psycopg.Connection[Row]":
        """To the database, past all privileges. Raises psycopg.OperationalError."""
        url = self._postgres.url("superuser", "cus")
        return psycopg.connect(url, autocommit=True, connect_timeout=5)

    @contextlib.contextmanager
    def stopped_database(self) -> Iterator[None]:
        """PostgreSQL with all its processes stopped in their tracks: it hangs."""
        leader = self._database.pid
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        pids = [leader, *map(int, children)]
        _signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    @contextlib.contextmanager
    def without_connections(self) -> Iterator[None]:
        """Other sessions hold all connections of PostgreSQL."""
        with contextlib.ExitStack() as taken:
            control = taken.enter_context(self.connect())
            everybody = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            # What we close others may take again before we do.
            for _ in range(_PATIENCE):
                control.execute(
                    everybody + " AND backend_type = 'client backend' AND usename <> current_user"
                )
                with contextlib.suppress(psycopg.OperationalError):
                    while True:
                        taken.enter_context(self.connect())
            yield

    def kill_database(self) -> None:
        """`kill -9` of the postmaster; what it had not synced is lost."""
        os.kill(self._database.pid, signal.SIGKILL)
        self._database.wait()
        self._sentinel.forget_group(self._database.pid)

    def start_database(self) -> None:
        """Start it, and wait until it has recovered what a kill interrupted."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._try_to_start_database():
            # It refuses for as long as a process of the killed one holds its memory.
            assert time.monotonic() < deadline, self._postgres.log.read_text()[-2000:]
            time.sleep(0.2)

    def restart_web(self, number: int) -> None:
        """Start the dead web server again, as a supervisor does."""
        web = self.webs[number]
        self._sentinel.forget_group(web.pid)
        web.kill()
        web.start()
        self._sentinel.watch_group(web.pid)

    def _watch_folders(self, stack: ExitStack) -> Sentinel:
        sentinel = Sentinel()
        stack.callback(sentinel.close)
        for folder in (self._home.folder, self._home.sockets):
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            sentinel.watch_folder(folder)
        return sentinel

    def _start_servers(self, stack: ExitStack) -> None:
        if self._prepared:
            self._copy(self._prepared)
        self.start_database()
        stack.callback(self._stop_database)
        if self._prepared:
            self._take_over(self._prepared)
        valkey = Valkey(self._home)
        stack.enter_context(running(valkey, self._sentinel))
        self.environment = product_secrets() | {
            "CUS_MODE": "local",
            "CUS_DATA_DIR": str(self._home.folder),
            "CUS_ENV_FILE": os.devnull,
            "LOG_LEVEL": "CRITICAL",
            **self._postgres.environment(),
            **valkey.environment(),
            **self._settings,
        }
        if not self._prepared:
            self._run("manage.py", "migrate", "--verbosity=0")
        for _ in range(self._web_servers):
            web = ServedProduct(self.environment)
            web.launch()
            stack.callback(web.kill)
            self._sentinel.watch_group(web.pid)
            self.webs.append(web)
        for web in self.webs:
            web.wait_until_ready()

    def _copy(self, prepared: PreparedDatabase) -> None:
        cluster = self._home.folder / "postgres"
        shutil.copytree(prepared.cluster, cluster)
        if account := self._home.account:
            for folder, _, files in os.walk(cluster):
                for name in (".", *files):
                    os.chown(Path(folder, name), account.uid, account.gid)

    def _take_over(self, prepared: PreparedDatabase) -> None:
        with psycopg.connect(
            self._postgres.url("superuser", "postgres"), autocommit=True
        ) as server:
            prepared.take_over(server)
        assert self._postgres.ready()  # which gives the product's roles their rights to it

    def _try_to_start_database(self) -> bool:
        self._postgres.prepare()
        with self._postgres.log.open("ab") as log:
            child = launch(self._postgres.program, log)
        self._sentinel.watch_group(child.pid)
        wait_for(lambda: child.poll() is not None or self._postgres.ready(), _START_SECONDS)
        if child.poll() is not None:
            self._sentinel.forget_group(child.pid)
            return False
        self._database = child
        return True

    def _stop_database(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            stop(self._postgres.program, self._database)
        self._sentinel.forget_group(self._database.pid)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        # A backend whose client has just left ends by itself.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
