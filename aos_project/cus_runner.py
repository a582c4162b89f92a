"""`manage.py cus_run`: the whole product with one command, on a machine without any set-up.

Starts the servers that are not configured (PostgreSQL, Valkey), prepares the database, starts web
server and workers, and stops everything in the reverse order. All its files are in the data folder.
"""

import argparse
import contextlib
import errno
import fcntl
import http
import http.client
import os
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import environ

from aos_project.cus_embedded import Postgres, ServiceError, Valkey, product_home
from aos_project.cus_embedded.errors import (
    NoDataFolder,
    NotOurs,
    SecretsIncomplete,
    SecretsLost,
)
from aos_project.cus_embedded.groups import GroupRecord, listener
from aos_project.cus_embedded.passwords import LATER_SECRETS, product_secrets, write_private
from aos_project.cus_embedded.process import Program, alive
from aos_project.cus_supervisor import Console, Interrupted, Supervisor, until_stopped

_LARGEST_PORT = 65_535
_STATUS_SECONDS = 60.0
# After a kill -9 the sentinel holds the lock for a moment, until it has cleaned up.
_LEFT_LOCK_SECONDS = 15.0
# The most connections of a web process. Each is a file, and granian stops accepting for good when
# it runs out of files.
_CONNECTIONS = 2_048
BASE_DIR = Path(__file__).resolve().parent.parent
_SERVER_ADDRESSES = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")
_LOCAL_ENV_HEADER = """\
# Written by `make run` for this machine. With this file every stored credential can be read, and
# without it none: keep it with the data. The environment and .env override this file.
"""


class AlreadyRunning(ServiceError):
    """The product is already running as process {pid}, {url}"""


class PortTaken(ServiceError):
    """Another program already listens on port {port} of {host} ({who}).
    Stop that program, or take another port: PORT={other} make run
    """


class CannotListen(ServiceError):
    """This machine can't listen on port {port} of {host}: {reason}."""


class OwnerWithoutDatabase(ServiceError):
    """DATABASE_OWNER_URL is set, but DATABASE_URL is not. Set both, or neither."""


def main(arguments: list[str]) -> int:
    """Serve until Ctrl-C. Return the exit code: 0 after a request to stop, 1 after an error."""
    parser = argparse.ArgumentParser(prog="manage.py cus_run", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8000)
    parser.add_argument(
        "--then-log-to", type=Path, metavar="FILE", help="where to print once the product serves"
    )
    options = parser.parse_args(arguments)
    return until_stopped(
        lambda console: _serve(console, options.host, options.port, options.then_log_to)
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port: take 1 to {_LARGEST_PORT}")
    return int(text)


def _serve(console: Console, host: str, port: int, log: Path | None) -> None:
    data = data_folder()
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  (to show, not to bind)
    url = f"http://{shown}:{port}/admin/"
    record = GroupRecord(data)
    with (
        _lock(data, url) as lock,
        Supervisor(console, keep_open=[lock], record=record) as supervisor,
    ):
        if ended := record.end_left_over():
            console.say(f"Ended processes that a killed run left: {', '.join(map(str, ended))}")
        _require_free(host, port)
        environment = _start_servers(data, console, supervisor)
        environment = _local_defaults(environment, url.removesuffix("/admin/")) | environment
        supervisor.run(_program("manage.py cus_prepare", ["manage.py", "cus_prepare"], environment))
        supervisor.start(web_program(environment | shared_metrics(data), host, port))
        supervisor.wait_until(lambda: _answers(shown, port, environment), "web")
        # Start the workers after the first page, so that they take no processor time from it.
        for program in _workers(environment):
            supervisor.start(program)
        console.say(f"\nServing on {url} - Ctrl-C stops everything\n")
        if log:
            console.move_to(log)
        try:
            supervisor.watch(_STATUS_SECONDS)
        except Interrupted:
            console.say("\nStopping; Ctrl-C again to hurry …")
            raise


# --- One run at a time --------------------------------------------------------------------------


def data_folder() -> Path:
    """The folder that has all files of a product on this machine."""
    return Path(os.environ.get("CUS_DATA_DIR") or BASE_DIR / ".data").absolute()


def running_product(data: Path) -> tuple[int, str] | None:
    """The process that runs a product on this data folder, and the product's address.

    None if no product runs. The address has no path: `http://127.0.0.1:8000`.
    """
    try:
        with (data / "run.lock").open() as file:
            with contextlib.suppress(BlockingIOError):
                # A product that ended, however it ended, holds its lock no longer.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            pid, _, url = file.read(1000).strip().partition(" ")
    except OSError:
        return None
    return (int(pid), url.removesuffix("/admin/")) if pid.isdecimal() else None


@contextlib.contextmanager
def _lock(data: Path, url: str) -> Iterator[int]:
    """Hold the lock of this data folder. The lock ends with the process that holds it."""
    try:
        # As root the servers run as another user, who has to get to its own folders in here.
        if not data.exists():
            data.mkdir(parents=True)
            data.chmod(0o711 if os.geteuid() == 0 else 0o700)
        file = os.open(data / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise NotOurs(path=data) from error
    except OSError as error:
        raise NoDataFolder(path=data, reason=error.strerror) from error
    try:
        _take(file)
        os.pwrite(file, f"{os.getpid()} {url}\n".encode(), 0)
        try:
            yield file
        finally:
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def _take(file: int) -> None:
    deadline = time.monotonic() + _LEFT_LOCK_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(file, 0)
            return
        pid, _, url = os.pread(file, 1000, 0).decode(errors="replace").strip().partition(" ")
        if (pid.isdecimal() and alive(int(pid))) or time.monotonic() > deadline:
            raise AlreadyRunning(pid=pid or "unknown", url=url)
        time.sleep(0.1)


def _require_free(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Binding can share an address with another program; listening can't.
            probe.listen()
    except UnicodeError as error:
        raise CannotListen(host=host, port=port, reason="that is not the name of a host") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            who = f"process {pid}" if (pid := listener(port)) else "a process that we may not see"
            raise PortTaken(
                host=host, port=port, who=who, other=port % _LARGEST_PORT + 1
            ) from error
        raise CannotListen(host=host, port=port, reason=error.strerror) from error


def shared_metrics(data: Path) -> dict[str, str]:
    """A folder in which the web processes share what they count of requests.

    Empty at each start: counts of processes that are gone would stay for ever.
    """
    folder = data / "web-metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


# --- Configuration and servers ------------------------------------------------------------------


def _start_servers(data: Path, console: Console, supervisor: Supervisor) -> dict[str, str]:
    """Start the servers that are not configured; return the environment for the programs."""
    environ.Env.read_env(os.environ.get("CUS_ENV_FILE") or BASE_DIR / ".env")
    if _configured("DATABASE_OWNER_URL") and not _configured("DATABASE_URL"):
        raise OwnerWithoutDatabase
    servers = _embedded(data, console, supervisor)
    addresses: dict[str, str] = {}
    for server in servers:
        addresses |= server.environment()
    local = write_local_env(data, addresses)
    for server in servers:
        server.prepare()
        server.log.write_bytes(b"")
        supervisor.start(server.program, server.log)
        supervisor.wait_until(server.ready, server.name)
    given = {name: value for name, value in os.environ.items() if value or name not in local}
    return local | given | {"CUS_DATA_DIR": str(data), "PYTHONUNBUFFERED": "1"}


def _local_defaults(environment: Mapping[str, str], url: str) -> dict[str, str]:
    """What the programs get on a machine without a configuration of its own.

    Links in mails lead to the port that is served, and the terminal shows warnings alone.
    """
    is_local = environment.get("CUS_MODE") == "local"
    return {"CUS_PUBLIC_URL": url, "LOG_LEVEL": "WARNING"} if is_local else {}


def _configured(name: str) -> bool:
    """Whether the setting is given, as a value or as a file."""
    return bool(os.environ.get(name) or os.environ.get(f"{name}_FILE"))


def _embedded(data: Path, console: Console, supervisor: Supervisor) -> list[Postgres | Valkey]:
    kinds = [("DATABASE_URL", Postgres), ("REDIS_URL", Valkey)]
    needed = [kind for name, kind in kinds if not _configured(name)]
    if not needed:
        return []
    home = product_home(data, console.say)
    if home.folder not in home.sockets.parents:
        supervisor.watch_folder(home.sockets)
    return [kind(home) for kind in needed]


def write_local_env(data: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """Write secrets and server addresses to `local.env`; secrets are made once and kept."""
    path = data / "local.env"
    if (data / "postgres").exists() and not path.exists():
        raise SecretsLost(data=data / "postgres", secrets=path)
    known = _read(path)
    fresh = product_secrets()
    # The file is written as a whole, so one that lacks a secret has been damaged since.
    lacking = {name for name in fresh if not (known.get(name) or _configured(name))}
    lost = [name for name in fresh if name in lacking - LATER_SECRETS]
    if path.exists() and lost:
        raise SecretsIncomplete(secrets=path, names=", ".join(lost))
    kept = {name: value for name, value in known.items() if name not in _SERVER_ADDRESSES}
    made = {name: fresh[name] for name in lacking} if path.exists() else fresh
    values = {"CUS_MODE": "local"} | made | kept | dict(addresses)
    if values != known:
        lines = (f"{name}={value}\n" for name, value in values.items())
        write_private(path, _LOCAL_ENV_HEADER + "".join(lines))
    return values


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text(errors="replace").splitlines())
    return {name: value for name, equals, value in lines if equals and name[0] != "#"}


# --- The product's own programs -----------------------------------------------------------------


def web_program(
    environment: Mapping[str, str],
    host: str,
    port: int,
    application: str = "aos_project.cus_web.application:application",
    *,
    interface: str = "rsgi",
    workers: int = 2,
) -> Program:
    """The web server of the product. Benchmarks also use it, for another WSGI application."""
    arguments = [
        *("-m", "granian", "--interface", interface, application, "--workers", str(workers)),
        *("--http", "1", "--no-ws", "--loop", "uvloop"),
        *("--backpressure", str(_connections())),
        *("--workers-kill-timeout", "5", "--log-level", "warning"),
        *("--host", host, "--port", str(port)),
    ]
    if interface == "wsgi":
        arguments += ["--blocking-threads", "4"]
    return _program("web", arguments, environment)


def _connections() -> int:
    """The connections of a web process: at most half of the files that it may open."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _CONNECTIONS if files == resource.RLIM_INFINITY else min(_CONNECTIONS, files // 2)


def _workers(environment: Mapping[str, str]) -> list[Program]:
    level = environment.get("LOG_LEVEL", "INFO")
    celery = ["-m", "celery", "-A", "aos_project", "-q"]
    worker = [
        *(*celery, "worker", "--concurrency", "2", "--loglevel", level),
        *("--without-gossip", "--without-mingle"),
    ]
    # In threads, because a health check mostly waits, and has deadlines of its own.
    checks = [
        *(*celery, "worker", "--queues", "cus_health", "--pool", "threads", "--concurrency", "16"),
        *("--hostname", "checks@%h", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
    ]
    # A process with one task at a time: sweeps are short, and must run in time.
    sweeper = [
        *(*celery, "worker", "--queues", "cus_holds", "--pool", "solo"),
        *("--hostname", "sweeper@%h", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
    ]
    # Running as root is the caller's choice, so Celery need not warn at each start.
    quiet = {"PYTHONWARNINGS": "ignore:You're running the worker"} | dict(environment)
    return [
        _program("worker", worker, quiet),
        _program("checks", checks, quiet),
        _program("sweeper", sweeper, quiet),
        _program("beat", [*celery, "beat", "--loglevel", "WARNING"], environment),
    ]


def _program(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Program:
    return Program(
        name=name,
        command=[sys.executable, *arguments],
        cwd=BASE_DIR,
        # A worker first finishes its jobs (SIGTERM), then drops them (SIGQUIT).
        stop=((signal.SIGTERM, 12.0), (signal.SIGQUIT, 3.0)),
        env=environment,
    )


def _answers(host: str, port: int, environment: Mapping[str, str]) -> bool:
    allowed = environment.get("ALLOWED_HOSTS", "").split(",")[0].strip()
    name = allowed if allowed.strip("*.") == allowed and allowed else host
    connection = http.client.HTTPConnection(host.strip("[]"), port, timeout=2)
    try:
        connection.request("GET", "/readyz", headers={"Host": name})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
