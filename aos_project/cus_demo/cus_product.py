"""The product that the demo reports to: the running product, or a product started for the demo.

Does not import Django: on a fresh machine Django's settings can be read only after the runner has
written them.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

_BASE_DIR = Path(__file__).resolve().parents[2]
BASE_URL = "http://127.0.0.1:8000"
_START_SECONDS = 60
_STOP_SECONDS = 30
_OF_A_PROCESS = re.compile(r"\w+ +\| ")


class ProductUnavailable(RuntimeError):
    """The product does not answer and could not be started."""


@contextmanager
def product_at(base_url: str) -> Iterator[None]:
    """Use the product at this address; start it, and stop it afterwards, if it does not answer."""
    if _is_ready(base_url):
        yield
        return
    address = urlsplit(base_url)
    if address.hostname not in ("127.0.0.1", "localhost"):
        msg = f"Nothing answers at {base_url}. Start the product there first."
        raise ProductUnavailable(msg)
    with _started(base_url, str(address.port or 80)):
        yield


@contextmanager
def _started(base_url: str, port: str) -> Iterator[None]:
    data = Path(os.environ.get("CUS_DATA_DIR", _BASE_DIR / ".data"))
    data.mkdir(parents=True, exist_ok=True)
    log = data / "demo-run.log"
    command = [sys.executable, str(_BASE_DIR / "manage.py"), "cus_run", "--port", port]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as runner:
        reader = threading.Thread(target=_pass_on, args=(runner, log))
        reader.start()
        try:
            _wait(base_url, runner, log)
            yield
        finally:
            runner.terminate()
            runner.wait(_STOP_SECONDS)
            reader.join()


def _pass_on(runner: "subprocess.Popen[str]", log: Path) -> None:
    """Write the processes' lines to a file, and the runner's lines to the terminal.

    On a first start the runner prints the logins and the key, which must not be in a file.
    """
    assert runner.stdout
    with log.open("w") as file:
        for line in runner.stdout:
            out = file if _OF_A_PROCESS.match(line) else sys.stdout
            out.write(line)
            out.flush()


def _wait(base_url: str, runner: "subprocess.Popen[str]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if _is_ready(base_url):
            return
        if runner.poll() is not None:
            break
        time.sleep(0.2)
    msg = f"The product could not be started; its output is above and in {log}."
    raise ProductUnavailable(msg)


def _is_ready(base_url: str) -> bool:
    try:
        return requests.get(f"{base_url}/readyz", timeout=5).ok
    except requests.RequestException:
        return False
