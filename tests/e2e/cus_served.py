"""What a customer's program meets: the product, a web server process on the tests' database, and
a provider."""

import contextlib
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from django.db import connections

from aos_project.cus_demo.cus_local_provider import LocalProvider
from aos_project.cus_runner import web_program
from tests.cus_ports import free_port

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 90


class ServedProduct:
    """granian, as `make run` starts it, on a port of its own. `kill` is `kill -9`.

    `environment` says on what it runs, if not on the tests' database; `settings` are the
    product's own, by name.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, **settings: str) -> None:
        self._environment = environment
        self._settings = settings
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, and wait until it answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Begin to serve."""
        program = web_program({}, "127.0.0.1", self.port, workers=1)
        environment = self._environment or {"DATABASE_URL": _test_database_url()}
        self._process = subprocess.Popen(
            program.command,
            cwd=ROOT,
            env=os.environ | environment | self._settings,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the server itself, which leads the process group of its workers."""
        assert self._process
        return self._process.pid

    def kill_worker(self) -> None:
        """`kill -9` of the process that answers requests, not of the one that started it."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)

    def kill(self) -> None:
        """End the server and its workers at once, whatever they are doing."""
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it in good order, as `make run` does."""
        assert self._process
        self._process.terminate()
        self._process.wait(_START_SECONDS)

    def __enter__(self) -> "ServedProduct":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def wait_until_ready(self) -> None:
        """Return once it answers that it is ready."""
        wait_until_ready(self.base_url)


def wait_until_ready(base_url: str) -> None:
    """Return once the product at an address answers that it is ready."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{base_url}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("the web server does not answer")


@contextlib.contextmanager
def serving(tokens: list[tuple[int, int]]) -> Iterator[LocalProvider]:
    """The demo's provider, in a thread of the test's own."""
    with LocalProvider(tokens) as provider:
        thread = threading.Thread(target=provider.serve_forever)
        thread.start()
        try:
            yield provider
        finally:
            provider.shutdown()
            thread.join()


def _test_database_url() -> str:
    name = str(connections["default"].settings_dict["NAME"])
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + quote(name)))
