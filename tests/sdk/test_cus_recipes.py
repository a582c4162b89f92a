"""The recipes of docs/delivery.md run as they stand there; killed workers lose nothing."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cus_ports import free_port
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_eventually
from tests.trust.cus_sdk_program import KEY

ROOT = Path(__file__).resolve().parents[2]
_RECIPE = re.compile(r"<!-- recipe: (\w+) -->\n```python\n(.*?)```", re.DOTALL)
RECIPES = dict(_RECIPE.findall((ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")))


@pytest.fixture
def environment(collector: CusFakeCollector, tmp_path: Path) -> dict[str, str]:
    # Celery would take the settings of these tests for its own.
    own = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    return {
        **own,
        "CUS_INTEGRATION_KEY": KEY,
        "AOS_BASE_URL": collector.url,
        "CUS_SPOOL_DIR": str(tmp_path / "spool"),
        "BROKER_URL": "filesystem://",
        "BROKER_FOLDER": str(tmp_path / "broker"),
        "PYTHONPATH": str(tmp_path),
    }


@contextmanager
def running_group(arguments: list[str], environment: dict[str, str], folder: Path) -> Iterator[int]:
    """A server with workers, in a group of its own; killed as one at the end."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    )
    return [int(line) for line in listed.stdout.split()]


def _kill_a_child(pid: int) -> bool:
    """Whether one was there: the one killed before may be on its way out still."""
    for child in children_of(pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
            return True
    return False


def _adopt(environment: dict[str, str], tmp_path: Path) -> None:
    """The next process of the host."""
    options = {
        "url": environment["AOS_BASE_URL"],
        "spool": environment["CUS_SPOOL_DIR"],
        "accepted": str(tmp_path),
        "name": "sweep",
        "fate": "sweep",
    }
    program = [sys.executable, "-m", "tests.trust.cus_sdk_program", json.dumps(options)]
    subprocess.run(program, cwd=ROOT, check=True, capture_output=True, timeout=60)


def _run(name: str, environment: dict[str, str], tail: str = "") -> str:
    program = [sys.executable, "-W", "error", "-c", RECIPES[name] + tail]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_recipe_has_its_test() -> None:
    assert set(RECIPES) == {"asyncio", "gunicorn", "celery", "lambda", "jupyter"}


def test_asyncio(environment: dict[str, str], collector: CusFakeCollector) -> None:
    _run("asyncio", environment)
    assert set(collector.stored) == {f"asyncio-{number}" for number in range(20)}


def test_lambda_has_sent_when_the_handler_returns(
    environment: dict[str, str], collector: CusFakeCollector, tmp_path: Path
) -> None:
    recipe = RECIPES["lambda"].replace("/tmp/aos-sdk", str(tmp_path / "lambda"))
    assert str(tmp_path) in recipe
    tail = "import os\nassert handler({'id': 'lambda-1'}, None)\nos._exit(0)\n"
    subprocess.run([sys.executable, "-c", recipe + tail], env=environment, check=True, timeout=60)
    assert list(collector.stored) == ["lambda-1"]


def test_jupyter_runs_cells_in_a_loop(
    environment: dict[str, str], collector: CusFakeCollector
) -> None:
    # A kernel runs a cell inside its running event loop.
    cell = repr(RECIPES["jupyter"])
    kernel = f"import asyncio\nasync def cell():\n    exec({cell}, {{}})\nasyncio.run(cell())\n"
    program = [sys.executable, "-c", kernel]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 records left, 1 sent\n"
    assert list(collector.stored) == ["jupyter-1"]


def test_gunicorn_with_killed_workers(
    environment: dict[str, str], collector: CusFakeCollector, tmp_path: Path
) -> None:
    (tmp_path / "recipe.py").write_text(RECIPES["gunicorn"], encoding="utf-8")
    port = free_port()
    arguments = ["gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "recipe:app"]
    accepted: set[str] = set()

    def ask(number: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/", headers={"X-Call-Id": f"web-{number}"})
            if connection.getresponse().status != 200:
                return False
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        accepted.add(f"web-{number}")
        return True

    with running_group(arguments, environment, tmp_path) as master:
        cus_eventually(lambda: ask(0))
        for number in range(1, 61):
            ask(number)
            if number % 20 == 0:
                cus_eventually(lambda: _kill_a_child(master))
        cus_eventually(lambda: ask(61))
    assert len(accepted) >= 50
    _adopt(environment, tmp_path)
    assert accepted <= set(collector.stored)


# Notes which tasks have returned, and so have reported, from where no kill can take it back.
_WATCHED = """
import os
from celery.signals import task_postrun
from recipe import app

log = os.open(os.environ["ACCEPTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@task_postrun.connect
def note(args=(), state="", **_):
    assert state == "SUCCESS"
    os.write(log, f"{args[0]}\\n".encode())
"""


def test_celery_with_killed_pool_processes(
    environment: dict[str, str], collector: CusFakeCollector, tmp_path: Path
) -> None:
    (tmp_path / "recipe.py").write_text(RECIPES["celery"], encoding="utf-8")
    (tmp_path / "watched.py").write_text(_WATCHED, encoding="utf-8")
    log = tmp_path / "accepted"
    log.touch()
    # With a broker in files, Celery's processes share one pipe and its lock, which a killed one
    # never gives back. The queue is not that of the product's tests.
    broker = os.environ["REDIS_URL"].replace("unix://", "redis+socket://")
    environment = {**environment, "ACCEPTED": str(log), "BROKER_URL": broker}
    send = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nfrom recipe import ask\n"
    send += "for n in range(200): ask.apply_async((f'task-{n}',), queue='recipe')\n"
    subprocess.run([sys.executable, "-c", send], env=environment, check=True, timeout=60)
    arguments = ["celery", "-A", "watched", "worker", "-P", "prefork", "-c", "2"]
    arguments += [
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        "-Ofair",
        "-Q",
        "recipe",
    ]

    def accepted() -> set[str]:
        return set(log.read_text(encoding="utf-8").split())

    with running_group(arguments, environment, tmp_path) as worker:
        for number in (10, 30, 50):
            cus_eventually(lambda: len(accepted()) >= number, 60.0)  # noqa: B023  (it returns within its turn)
            cus_eventually(lambda: _kill_a_child(worker))
    _adopt(environment, tmp_path)
    assert len(accepted()) >= 50
    assert accepted() <= set(collector.stored)
