"""The peers: their packages, their start as documented, and their tables of events."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from aos_project.cus_embedded.process import Program
from aos_project.cus_runner import BASE_DIR
from benchmarks.cus_served import database_urls, free_port

_VENV = BASE_DIR / ".data" / "bench-venv"
_PYTHON = _VENV / "bin" / "python"
_INSTALL_SECONDS = 600.0


class NotInstallable(Exception):
    """A peer can't be installed, so it is left out; the message has the reason."""


def install(wanted: Sequence[str], venv: Path = _VENV) -> None:
    """Packages into the environment of the peers' own, or into another. Raises NotInstallable."""
    python = venv / "bin" / "python"
    try:
        if not python.exists():
            _run([sys.executable, "-m", "venv", str(venv)])
        _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted])
    except subprocess.TimeoutExpired:
        raise NotInstallable(f"not installed after {_INSTALL_SECONDS:.0f} s") from None


def peer_command(program: str, *arguments: str) -> list[str]:
    """What runs a program of this folder in the peers' environment."""
    return [str(_PYTHON), str(Path(__file__).with_name(program)), *arguments]


@dataclass(frozen=True)
class Peer:
    """One store of LLM calls that is not ours."""

    name: str
    version: str
    # What it needs beside itself to speak to PostgreSQL, and SQLAlchemy's word for that.
    packages: tuple[str, ...]
    scheme: str
    # The table that has one row for each event.
    table: str
    sends: str
    client: str

    def install(self) -> None:
        """Into an environment of the peers' own. Raises NotInstallable."""
        install([f"{self.name}=={self.version}", *self.packages])

    def client_command(self, port: int, events: int) -> list[str]:
        return peer_command(self.client, str(port), str(events))


PEERS = (
    Peer(
        name="arize-phoenix",
        version="20.26.1",
        packages=("asyncpg==0.32.0",),
        scheme="postgresql",
        table="spans",
        sends="OTLP, 512 a batch",
        client="cus_peer_phoenix.py",
    ),
    Peer(
        name="mlflow",
        version="3.17.2",
        packages=("psycopg2-binary==2.9.13",),
        scheme="postgresql+psycopg2",
        table="trace_info",
        sends="a trace a request, 8 threads",
        client="cus_peer_mlflow.py",
    ),
)


def quiet_environment(folder: str) -> dict[str, str]:
    """The environment of a peer's programs: without our settings, and with reporting turned off."""
    return {
        "PATH": f"{_VENV / 'bin'}:{os.defpath}",
        "HOME": folder,
        "LC_ALL": "C.UTF-8",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "OTEL_SDK_DISABLED": "false",
        "NO_PROXY": "*",
    }


def server(peer: Peer, database: str, port: int, folder: str) -> Program:
    """The peer's server at its defaults, on a database of ours."""
    address = _sqlalchemy_url(peer, database)
    environment = quiet_environment(folder)
    if peer.name == "mlflow":
        command = [
            *(str(_VENV / "bin" / "mlflow"), "server", "--backend-store-uri", address),
            *("--default-artifact-root", folder, "--host", "127.0.0.1", "--port", str(port)),
        ]
    else:
        command = [str(_VENV / "bin" / "phoenix"), "serve"]
        environment |= _phoenix_settings(address, port, folder)
    return Program(name=peer.name, command=command, cwd=Path(folder), env=environment)


def _phoenix_settings(address: str, port: int, folder: str) -> Mapping[str, str]:
    return {
        "PHOENIX_SQL_DATABASE_URL": address,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": folder,
    }


def _sqlalchemy_url(peer: Peer, database: str) -> str:
    ours = urlsplit(database_urls(database)["DATABASE_OWNER_URL"])
    return urlunsplit(ours._replace(scheme=peer.scheme))


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
    )
    if done.returncode != 0:
        raise NotInstallable((done.stderr.strip().splitlines() or ["no reason given"])[-1])
