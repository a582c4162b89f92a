"""Web servers to measure: granian as `make run` starts it, with the product or with another."""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from aos_project.cus_embedded.errors import DidNotStart
from aos_project.cus_embedded.postgres import log_end
from aos_project.cus_embedded.process import Program, launch, stop, wait_for
from aos_project.cus_embedded.sentinel import Sentinel
from aos_project.cus_runner import web_program

PRODUCT = "aos_project.wsgi:application"
PLAIN_DRF = "benchmarks.cus_drf_wsgi:application"
_START_SECONDS = 60.0


@contextmanager
def served(application: str, database: str) -> Iterator[int]:
    """Serve an application on a database; yields the port."""
    port = free_port()
    environment = {**os.environ, **database_urls(database)}
    # The benchmark's own settings are set in the application's module, not inherited from here.
    del environment["DJANGO_SETTINGS_MODULE"]
    # One key sends everything here; how often one may ask is another question.
    environment["CUS_SDK_REQUESTS_PER_SECOND"] = environment["CUS_CHECKS_PER_SECOND"] = "0"
    environment["CUS_CHECK_REQUESTS_AT_ONCE"] = "0"
    with running(web_program(environment, "127.0.0.1", port, application), port):
        yield port


@contextmanager
def running(program: Program, port: int, seconds: float = _START_SECONDS) -> Iterator[None]:
    """Run a server from when it listens to the end of the block; it can't outlive us."""
    sentinel = Sentinel()
    with tempfile.NamedTemporaryFile(suffix=f"-{program.name}.log") as log:
        child = launch(program, log.file)
        sentinel.watch_group(child.pid)
        try:
            settled = wait_for(lambda: child.poll() is not None or listens(port), seconds)
            if not settled or child.poll() is not None:
                raise DidNotStart(name=program.name, log=log_end(Path(log.name)))
            yield
        finally:
            stop(program, child)
            sentinel.forget_group(child.pid)
            sentinel.close()


def database_urls(database: str) -> Mapping[str, str]:
    """The environment's addresses of the database, of another one on the same server."""
    return {
        name: urlunsplit(urlsplit(os.environ[name])._replace(path=f"/{database}"))
        for name in ("DATABASE_URL", "DATABASE_OWNER_URL")
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
