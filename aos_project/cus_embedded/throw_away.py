"""Servers for a test run or one command, always removed at the end."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from aos_project.cus_embedded.errors import DidNotStart
from aos_project.cus_embedded.home import throw_away_home
from aos_project.cus_embedded.passwords import product_secrets
from aos_project.cus_embedded.postgres import MAX_CONNECTIONS, Postgres, log_end
from aos_project.cus_embedded.process import launch, stop, wait_for
from aos_project.cus_embedded.sentinel import Sentinel
from aos_project.cus_embedded.valkey import Valkey

_START_SECONDS = 60.0


@contextmanager
def throw_away_services(
    *, durable: bool = False, connections: int = MAX_CONNECTIONS
) -> Iterator[dict[str, str]]:
    """Run a PostgreSQL and a Valkey in a temporary folder; yield a complete environment for the
    product, so that no setting comes from the developer's own configuration. `durable` gives
    PostgreSQL the settings of `make run`, with fsync; `connections` is how many it accepts."""
    home = throw_away_home()
    postgres = Postgres(home, fast=not durable, connections=connections)
    with ExitStack() as stack:
        sentinel = Sentinel()
        stack.callback(sentinel.close)
        stack.callback(shutil.rmtree, home.sockets, ignore_errors=True)
        stack.callback(shutil.rmtree, home.folder, ignore_errors=True)
        for folder in (home.folder, home.sockets):
            sentinel.watch_folder(folder)
        environment = product_secrets() | {
            "CUS_MODE": "local",
            "CUS_DATA_DIR": str(home.folder),
            "CUS_ENV_FILE": os.devnull,
            "CUS_SUPERUSER_URL": postgres.url("superuser", "cus"),
        }
        for server in (postgres, Valkey(home)):
            stack.enter_context(running(server, sentinel))
            environment |= server.environment()
        yield environment


@contextmanager
def running(server: Postgres | Valkey, sentinel: Sentinel) -> "Iterator[subprocess.Popen[bytes]]":
    """Prepare and run a server, and stop it after the block."""
    server.prepare()
    with server.log.open("wb") as log:
        child = launch(server.program, log)
    sentinel.watch_group(child.pid)
    try:
        wait_for(lambda: _settled(server, child), _START_SECONDS)
        if child.poll() is not None or not server.ready():
            raise DidNotStart(name=server.name, log=log_end(server.log))
        yield child
    finally:
        stop(server.program, child)
        sentinel.forget_group(child.pid)


def _settled(server: Postgres | Valkey, child: "subprocess.Popen[bytes]") -> bool:
    return child.poll() is not None or server.ready()
