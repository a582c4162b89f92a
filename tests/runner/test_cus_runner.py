"""`make run` from the outside: the real runner, servers, granian and celery.

The product that it serves here is a stand-in of a few lines: what is tested is how the whole
is started, kept and taken down, and the stand-in shows that what runs can reach the servers.
"""

import fcntl
import http.client
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aos_project.cus_embedded.passwords import product_secrets
from aos_project.cus_embedded.process import wait_for
from aos_project.cus_runner import running_product, shared_metrics, write_local_env
from tests.cus_ports import free_port

# For a start or an end on a machine that runs much else.
_SECONDS = 60
SOURCE = Path(__file__).resolve().parents[2] / "aos_project"
STAND_IN = {
    "manage.py": """
        import os, psycopg, sys
        if sys.argv[1] == "cus_run":
            from aos_project import cus_runner
            seconds = os.environ.get("LEFT_LOCK_SECONDS", cus_runner._LEFT_LOCK_SECONDS)
            cus_runner._LEFT_LOCK_SECONDS = float(seconds)
            sys.exit(cus_runner.main(sys.argv[2:]))
        with psycopg.connect(os.environ["DATABASE_OWNER_URL"]) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz)")
            connection.execute("GRANT SELECT ON starts TO cus_app")
            connection.execute("INSERT INTO starts VALUES (now())")
        print("Prepared as the owner.")
        print("Links begin with", os.environ["CUS_PUBLIC_URL"], "at", os.environ["LOG_LEVEL"])
        """,
    "aos_project/__init__.py": "",
    "aos_project/cus_web/__init__.py": "",
    "aos_project/cus_web/application.py": """
        import os, psycopg
        async def application(scope, protocol):
            with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
                count = connection.execute("SELECT count(*) FROM starts").fetchone()[0]
            protocol.response_str(200, [("content-type", "text/plain")], str(count))
        """,
    "aos_project/celery.py": """
        import os
        from celery import Celery
        broker = os.environ["REDIS_URL"].replace("unix://", "redis+socket://")
        app = Celery("aos_project", broker=broker)
        app.conf.broker_connection_retry_on_startup = True
        """,
}


@dataclass
class Product:
    folder: Path
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, **environment: str) -> "Running":
        clean = {"PATH": os.environ["PATH"], "CUS_DATA_DIR": str(self.data)} | environment
        process = subprocess.Popen(
            [sys.executable, "manage.py", "cus_run", "--port", str(self.port)],
            cwd=self.folder,
            env=clean,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Running(self, process)

    def run_to_the_end(self, **environment: str) -> tuple[int, str]:
        running = self.run(**environment)
        output, _ = running.process.communicate(timeout=_SECONDS)
        return running.process.returncode, output

    def ask(self) -> str | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            return response.read().decode() if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


@dataclass
class Running:
    product: Product
    process: "subprocess.Popen[str]"

    def until(self, pattern: str) -> str:
        """What it said up to the line with the pattern."""
        assert self.process.stdout
        text = ""
        for line in self.process.stdout:
            text += line
            if re.search(pattern, line):
                return text
        pytest.fail(f"ended without saying {pattern!r}:\n{text}")

    def family(self) -> dict[int, str]:
        """Every process it started, by pid, with its command line."""
        parents = {pid: parent for pid in all_pids() if (parent := parent_of(pid)) is not None}
        family = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return {pid: command_of(pid) for pid in family - {self.process.pid}}

    def main_of(self, pattern: str) -> int:
        return min(
            pid
            for pid, command in self.family().items()
            if re.search(pattern, command) and parent_of(pid) == self.process.pid
        )

    def end(self, sig: signal.Signals = signal.SIGINT) -> str:
        self.process.send_signal(sig)
        output, _ = self.process.communicate(timeout=_SECONDS)
        return output


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parent_of(pid: int) -> int | None:
    """None once it is dead, buried or not."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(parent)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def all_gone(pids: dict[int, str]) -> bool:
    return all(parent_of(pid) is None for pid in pids)


@dataclass
class FirstStart:
    """What was seen of the first start on an empty machine, and of its end by Ctrl-C."""

    said: str
    answer: str | None
    family: dict[int, str]
    last_words: str
    code: int


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Product]:
    folder = Path(tempfile.mkdtemp(prefix="aos-test-"))
    folder.chmod(0o711)
    (folder / "aos_project" / "cus_web").mkdir(parents=True)
    for name, text in STAND_IN.items():
        (folder / name).write_text(re.sub(r"^ {8}", "", text, flags=re.MULTILINE))
    for name in ("cus_runner.py", "cus_supervisor.py", "cus_demo/cus_product.py"):
        (folder / "aos_project" / name).parent.mkdir(exist_ok=True)
        shutil.copy(SOURCE / name, folder / "aos_project" / name)
    shutil.copytree(SOURCE / "cus_embedded", folder / "aos_project/cus_embedded")
    yield Product(folder, free_port())
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def first_start(stand_in: Product) -> FirstStart:
    running = stand_in.run(LOG_LEVEL="INFO")
    said = running.until("Serving on")
    running.until("celery@.* ready")
    answer, family = stand_in.ask(), running.family()
    last_words = running.end()
    return FirstStart(said, answer, family, last_words, running.process.returncode)


@pytest.fixture
def product(stand_in: Product, first_start: FirstStart) -> Product:
    """A product that has run before."""
    return stand_in


def test_first_start_prepares_and_serves(product: Product, first_start: FirstStart) -> None:
    assert "\nPrepared as the owner.\n" in f"\n{first_start.said}"
    banner = f"Serving on http://127.0.0.1:{product.port}/admin/ - Ctrl-C stops everything\n"
    assert banner in first_start.said
    assert first_start.answer == "1"
    assert stat.S_IMODE((product.data / "local.env").stat().st_mode) == 0o600


def test_links_in_mails_begin_with_the_served_port_and_the_terminal_shows_warnings_alone(
    product: Product, first_start: FirstStart
) -> None:
    address = f"http://127.0.0.1:{product.port}"
    assert f"Links begin with {address} at INFO\n" in first_start.said  # as it was asked to
    running = product.run()
    assert f"Links begin with {address} at WARNING\n" in running.until("Links begin")
    running.end()


def test_an_address_that_is_configured_stays_the_beginning_of_links(product: Product) -> None:
    running = product.run(CUS_PUBLIC_URL="https://aos.example.com")
    assert "Links begin with https://aos.example.com at" in running.until("Links begin")
    running.end()


def test_the_demo_finds_the_product_on_its_port_or_starts_one_that_goes_on(
    product: Product,
) -> None:
    address = f"http://127.0.0.1:{product.port}"

    said = _demo_product(product)

    started = running_product(product.data)
    assert started
    assert said.endswith(f"Stop it with: kill {started[0]}\n\nfound {address}\n")
    assert product.ask() is not None
    assert _demo_product(product) == f"found {address}\n"
    os.kill(started[0], signal.SIGTERM)
    assert wait_for(lambda: running_product(product.data) is None, _SECONDS)
    log = product.data / "run.log"
    assert log.read_text().endswith("Stopped.\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def _demo_product(product: Product) -> str:
    """What the demo's start says in a process of its own, which ends."""
    find = "from aos_project.cus_demo.cus_product import product_address as find"
    ended = subprocess.run(
        [sys.executable, "-c", f"{find}; print('found', find(None, {product.port}))"],
        cwd=product.folder,
        env={"PATH": os.environ["PATH"], "CUS_DATA_DIR": str(product.data)},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return ended.stdout


def test_ctrl_c_leaves_nothing_running(product: Product, first_start: FirstStart) -> None:
    assert first_start.code == 0, first_start.last_words
    assert first_start.last_words.endswith("Stopped.\n")
    assert len(first_start.family) > 10  # servers, web, worker, beat, each with its own helpers
    assert wait_for(lambda: all_gone(first_start.family), _SECONDS), first_start.family


def test_later_start_keeps_data_and_secrets_and_restarts_what_is_killed(product: Product) -> None:
    secrets = (product.data / "local.env").read_text()
    running = product.run()
    running.until("Serving on")
    starts = product.ask()
    assert starts
    assert int(starts) > 1
    assert (product.data / "local.env").read_text() == secrets

    code, said = product.run_to_the_end()
    expected = f"already running as process {running.process.pid}, http://127.0.0.1:{product.port}/"
    assert code == 1
    assert expected in said

    web = running.main_of("granian")
    helpers = {pid: name for pid, name in running.family().items() if parent_of(pid) == web}
    os.kill(web, signal.SIGKILL)
    running.until(r"web +\| killed by SIGKILL; restarting")
    assert wait_for(lambda: product.ask() == starts, _SECONDS)
    assert helpers
    assert all_gone(helpers)

    os.kill(running.main_of("postgres -D"), signal.SIGKILL)
    running.until(r"postgres +\| killed by SIGKILL; restarting")
    assert wait_for(lambda: product.ask() == starts, _SECONDS)
    running.end(signal.SIGTERM)
    assert running.process.returncode == 0


def test_killed_runner_takes_everything_with_it_and_the_next_start_works(product: Product) -> None:
    running = product.run(LOG_LEVEL="INFO")
    running.until("celery@.* ready")
    family = running.family()
    running.end(signal.SIGKILL)
    assert wait_for(lambda: all_gone(family), _SECONDS), family
    after = product.run()
    after.until("Serving on")
    assert product.ask() is not None
    after.end(signal.SIGHUP)
    assert after.process.returncode == 0


def test_workers_that_outlived_sentinel_and_runner_are_ended_by_the_next_start(
    product: Product,
) -> None:
    running = product.run(LOG_LEVEL="INFO")
    running.until("celery@.* ready")
    family = running.family()
    os.kill(running.main_of(r"sentinel\.py"), signal.SIGKILL)
    running.end(signal.SIGKILL)
    left = {pid: name for pid, name in family.items() if "granian" in name}
    time.sleep(1)
    assert not all_gone(left), "nothing was left over, so this shows nothing"
    after = product.run()
    assert "Ended processes that a killed run left: " in after.until("Serving on")
    assert product.ask() is not None
    assert all_gone(family)
    after.end()
    assert after.process.returncode == 0


def test_interrupted_first_start_is_completed_by_the_next_one(product: Product) -> None:
    shutil.rmtree(product.data)
    running = product.run()
    assert wait_for((product.data / "postgres.making").exists, _SECONDS)
    time.sleep(0.2)
    family = running.family()
    running.end(signal.SIGKILL)
    assert wait_for(lambda: all_gone(family), _SECONDS)
    after = product.run()
    after.until("Serving on")
    assert product.ask() == "1"
    after.end()


def test_taken_port_is_said_before_anything_is_started(product: Product) -> None:
    with socket.create_server(("127.0.0.1", product.port)):
        code, said = product.run_to_the_end()
    assert code == 1
    expected = f"already listens on port {product.port} of 127.0.0.1 (process {os.getpid()})"
    assert expected in said
    assert f"PORT={product.port + 1} make run" in said


def test_failing_preparation_stops_everything_and_says_so(product: Product) -> None:
    # A database of the caller's own is used, not replaced: here it isn't there.
    code, said = product.run_to_the_end(
        DATABASE_URL="postgres://nobody@127.0.0.1:1/none",
        DATABASE_OWNER_URL="postgres://nobody@127.0.0.1:1/none",
    )
    assert code == 1
    assert "connection refused" in said.lower()
    assert "manage.py cus_prepare failed (exit code 1)" in said
    assert "DATABASE_URL" not in (product.data / "local.env").read_text()


def test_owner_address_without_database_address_is_refused(product: Product) -> None:
    code, said = product.run_to_the_end(DATABASE_OWNER_URL="postgres://nobody@127.0.0.1:1/none")
    assert (code, said.strip()) == (
        1,
        "DATABASE_OWNER_URL is set, but DATABASE_URL is not. Set both, or neither.",
    )


def test_lost_keys_are_said_rather_than_replaced(product: Product) -> None:
    kept = (product.data / "local.env").rename(product.data / "kept")
    code, said = product.run_to_the_end()
    kept.rename(product.data / "local.env")
    assert code == 1
    assert "local.env, with the passwords and keys for it, is missing" in said


def test_a_file_of_an_earlier_release_gets_the_secret_that_release_did_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in product_secrets():
        monkeypatch.delenv(name, raising=False)
    whole = write_local_env(tmp_path, {})
    earlier = {name: value for name, value in whole.items() if name != "CUS_SEAL_SECRET"}
    lines = (f"{name}={value}\n" for name, value in earlier.items())
    (tmp_path / "local.env").write_text("".join(lines))

    upgraded = write_local_env(tmp_path, {})

    assert upgraded.pop("CUS_SEAL_SECRET") not in ("", whole["CUS_SEAL_SECRET"])
    assert upgraded == earlier
    assert "CUS_SEAL_SECRET=" in (tmp_path / "local.env").read_text()


@pytest.mark.parametrize(
    "kept", ["", "# only a comment\n", "SECRET_KEY=\n", "\0\1", "CUS_MODE=local\nSECRET_KEY=x\n"]
)
def test_emptied_or_partial_keys_are_said_rather_than_replaced(product: Product, kept: str) -> None:
    path = product.data / "local.env"
    whole = path.read_text()
    path.write_text(kept)
    try:
        code, said = product.run_to_the_end()
        assert path.read_text() == kept
    finally:
        path.write_text(whole)
    assert code == 1
    assert re.search(r"local\.env lacks .*CUS_KEY_HASH_SECRET", said)
    assert "Put the file back" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("port", ["99999", "0", "-1", "http"])
def test_impossible_port_is_said(product: Product, port: str) -> None:
    code, said = Product(product.folder, port).run_to_the_end()  # type: ignore[arg-type]  # on purpose
    assert code == 2
    assert "is not a port: take 1 to 65535" in said or "expected one argument" in said
    assert "Traceback" not in said


def test_file_in_place_of_the_data_folder_is_said(product: Product) -> None:
    for path in (product.folder / "manage.py", product.folder / "manage.py" / "data"):
        code, said = product.run_to_the_end(CUS_DATA_DIR=str(path))
        assert code == 1
        assert f"{path} can't be the data folder" in said
        assert "CUS_DATA_DIR=/some/folder make run" in said
        assert "Traceback" not in said


def test_damaged_lock_file_does_not_stop_the_start(product: Product) -> None:
    lock = product.data / "run.lock"
    lock.write_bytes(b"\xff garbage")
    running = product.run()
    running.until("Prepared as the owner")
    running.end()
    assert running.process.returncode == 0
    with lock.open("wb", buffering=0) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(b"\xff garbage")
        code, said = product.run_to_the_end(LEFT_LOCK_SECONDS="1")
    assert (code, "already running" in said, "Traceback" in said) == (1, True, False)


def test_the_web_processes_share_a_folder_of_counts_that_a_start_empties(tmp_path: Path) -> None:
    for _ in range(2):
        folder = Path(shared_metrics(tmp_path)["PROMETHEUS_MULTIPROC_DIR"])
        assert list(folder.iterdir()) == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        # What a process leaves that was killed.
        (folder / "counter_1.db").write_bytes(b"\0")
