"""The product as a customer's program meets it: a web server process on the tests' database."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import TracebackType
from urllib.parse import quote, urlsplit, urlunsplit

from django.db import connections

from tests.conftest import ROOT
from tests.cus_ports import free_port

_START_SECONDS = 30


class ServedProduct:
    """granian, as `make run` starts it, on a port of its own. `kill` is `kill -9`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, and wait until it answers."""
        command = ["-m", "granian", "--interface", "wsgi", "--workers", "1"]
        command += ["--blocking-threads", "4", "--workers-kill-timeout", "5"]
        command += ["--port", str(self.port), "aos_project.wsgi:application"]
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | {"DATABASE_URL": _test_database_url()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready()

    def kill(self) -> None:
        """End the server and its workers at once, whatever they are doing."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> "ServedProduct":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.base_url}/readyz", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        raise AssertionError("the web server does not answer")


def _test_database_url() -> str:
    name = str(connections["default"].settings_dict["NAME"])
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path="/" + quote(name)))
