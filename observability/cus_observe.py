"""`make observe`: Prometheus and Alertmanager beside the running product, until Ctrl-C.

Debian's packages, with the configuration of this folder; only addresses are put in. Their data is
in the data folder, below `observe/`.
"""

import argparse
import http.client
import os
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aos_project.cus_embedded.errors import ServiceError
from aos_project.cus_embedded.process import Program
from aos_project.cus_supervisor import Console, Supervisor, until_stopped

FOLDER = Path(__file__).resolve().parent
_ROOT = FOLDER.parent
_PROGRAMS = ("prometheus", "prometheus-alertmanager")


class NotInstalled(ServiceError):
    """{name} is not installed. On Debian or Ubuntu: sudo apt-get install {packages}"""


@dataclass(frozen=True)
class Addresses:
    """The ports of this machine on which the three listen."""

    product: int
    prometheus: int
    alertmanager: int

    @property
    def targets(self) -> dict[str, int]:
        """The port of each file of targets."""
        return {
            "targets.yml": self.product,
            "prometheus-targets.yml": self.prometheus,
            "alertmanager-targets.yml": self.alertmanager,
        }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m observability.cus_observe", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="of the product")
    parser.add_argument("--prometheus-port", type=int, default=9090)
    parser.add_argument("--alertmanager-port", type=int, default=9093)
    options = parser.parse_args(arguments)
    addresses = Addresses(options.port, options.prometheus_port, options.alertmanager_port)
    data = Path(os.environ.get("CUS_DATA_DIR") or _ROOT / ".data").absolute() / "observe"
    return until_stopped(lambda console: _serve(console, data, addresses))


def _serve(console: Console, data: Path, addresses: Addresses) -> None:
    require_programs()
    prepare(data, addresses)
    with Supervisor(console) as supervisor:
        for program, port in (
            (alertmanager(data, addresses), addresses.alertmanager),
            (prometheus(data, addresses), addresses.prometheus),
        ):
            supervisor.start(program, data / f"{program.name}.log")
            supervisor.wait_until(partial(is_ready, port), program.name)
        console.say(
            f"Prometheus: http://127.0.0.1:{addresses.prometheus}/alerts\n"
            f"Alertmanager: http://127.0.0.1:{addresses.alertmanager}/\n"
            f"They watch http://127.0.0.1:{addresses.product}/metrics - Ctrl-C stops both\n"
        )
        supervisor.watch()


def require_programs() -> None:
    """Raise NotInstalled if a program is missing."""
    for name in _PROGRAMS:
        if shutil.which(name) is None:
            raise NotInstalled(name=name, packages=" ".join(_PROGRAMS))


def prepare(data: Path, addresses: Addresses) -> None:
    """Copy the configuration to the data folder, with the addresses of this machine."""
    for part in ("prometheus", "alertmanager"):
        shutil.rmtree(data / part, ignore_errors=True)
        shutil.copytree(FOLDER / part, data / part)
    for name, port in addresses.targets.items():
        (data / "prometheus" / name).write_text(f"- targets: [127.0.0.1:{port}]\n")


def prometheus(data: Path, addresses: Addresses) -> Program:
    """Prometheus over the copied configuration."""
    return Program(
        name="prometheus",
        command=[
            "prometheus",
            f"--config.file={data / 'prometheus' / 'prometheus.yml'}",
            f"--storage.tsdb.path={data / 'prometheus-data'}",
            f"--web.listen-address=127.0.0.1:{addresses.prometheus}",
            "--enable-feature=expand-external-labels",
        ],
        cwd=data,
        env=os.environ
        | {
            "CUS_CONSOLE_URL": f"http://127.0.0.1:{addresses.product}",
            "CUS_RUNBOOKS_URL": (_ROOT / "docs" / "operations.md").as_uri(),
        },
    )


def alertmanager(data: Path, addresses: Addresses) -> Program:
    """Alertmanager over the copied configuration, without a cluster."""
    return Program(
        name="alertmanager",
        command=[
            "prometheus-alertmanager",
            f"--config.file={data / 'alertmanager' / 'alertmanager.yml'}",
            f"--storage.path={data / 'alertmanager-data'}",
            f"--web.listen-address=127.0.0.1:{addresses.alertmanager}",
            "--cluster.listen-address=",
        ],
        cwd=data,
    )


def is_ready(port: int) -> bool:
    """Whether Prometheus or Alertmanager is ready on a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
