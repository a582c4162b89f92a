"""The product that the demo reports to: the running product, or a product started for the demo.

Does not import Django: on a fresh machine Django's settings can be read only after the runner has
written them.
"""

import subprocess
import sys
from pathlib import Path

import requests

from aos_project.cus_runner import data_folder, running_product

_BASE_DIR = Path(__file__).resolve().parents[2]
_SERVING = "Serving on "


class ProductUnavailable(RuntimeError):
    """The product does not answer and could not be started."""


def product_address(given: str | None, port: int) -> str:
    """The address of a product that answers: the given address, else that of the product which
    runs on this machine's data. If none runs, a product is started on `port`; it keeps running.

    Raises ProductUnavailable.
    """
    if given:
        return _answering(given)
    if running := running_product(data_folder()):
        return _answering(running[1])
    return _start(port)


def _answering(base_url: str) -> str:
    try:
        is_ready = requests.get(f"{base_url}/readyz", timeout=5).ok
    except requests.RequestException:
        is_ready = False
    if not is_ready:
        msg = f"The product at {base_url} does not answer. Start it, or give its --base-url."
        raise ProductUnavailable(msg)
    return base_url


def _start(port: int) -> str:
    """Start a product that outlives this process, and return its address."""
    data = data_folder()
    log = data / "run.log"
    command = [sys.executable, str(_BASE_DIR / "manage.py"), "cus_run"]
    runner = subprocess.Popen(
        [*command, "--port", str(port), "--then-log-to", str(log)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Ctrl-C ends the demo alone.
        start_new_session=True,
    )
    try:
        is_serving = _pass_on_until_serving(runner)
    except BaseException:
        runner.terminate()
        raise
    running = running_product(data)
    if not is_serving or running is None:
        msg = "The product could not be started; its output is above."
        raise ProductUnavailable(msg)
    pid, base_url = running
    sys.stdout.write(f"It keeps running, and writes to {log}. Stop it with: kill {pid}\n\n")
    return base_url


def _pass_on_until_serving(runner: "subprocess.Popen[str]") -> bool:
    """Pass the output on to the terminal; return whether the product serves."""
    assert runner.stdout
    for line in runner.stdout:
        shown, is_serving = line.partition(" - Ctrl-C")[0].rstrip("\n"), line.startswith(_SERVING)
        sys.stdout.write(f"{shown}\n")
        sys.stdout.flush()
        if is_serving:
            return True
    return False
