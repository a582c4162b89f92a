"""Environments for packages that must not meet ours: each has what its own lock pins.

They are in `.frameworks/` at the root of the repository, which git ignores. uv installs them from
PyPI (or from where pip's variables say) as links into one cache, so what they share is on the disk
once.
"""

import fcntl
import os
import subprocess
import sys
import tarfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
HOME: Final = ROOT / ".frameworks"
LOCKS: Final = Path(__file__).with_name("locks")
_OUR_REQUIREMENTS: Final = LOCKS / "sdk.in"
_SOURCES: Final = LOCKS / "sources.txt"
_INSTALL_SECONDS: Final = 900.0
# uv does not read pip's variables.
_UV_NAMES: Final = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}


class NotInstallable(Exception):
    """The packages of an environment could not be had; the message has the installer's reason."""


def lock_of(name: str) -> Path:
    """The file that pins an environment's packages."""
    return LOCKS / f"{name}.txt"


def pinned(name: str) -> Mapping[str, str]:
    """The versions that an environment's lock pins, by package."""
    lines = (line.partition(";")[0] for line in lock_of(name).read_text().splitlines())
    pairs = (line.split("==") for line in lines if "==" in line)
    return {package.strip(): version.strip() for package, version in pairs}


def python_of(name: str) -> Path:
    """The interpreter of an environment, which is installed first if it is missing or outdated.

    Raises NotInstallable.
    """
    home = HOME / name
    python, mark, wanted = home / "bin" / "python", home / "installed.txt", lock_of(name)
    with _alone():
        if mark.exists() and mark.read_text() == wanted.read_text() and python.exists():
            return python
        uv = _tool("uv")
        _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(home)])
        install = [uv, "pip", "install", "-q", "--no-deps", "--python", str(python)]
        _run([*install, "-r", str(wanted)])
        mark.write_text(wanted.read_text())
    return python


def lock(names: Sequence[str]) -> None:
    """Pin again what each environment's `.in` file asks for, at the newest versions."""
    with _alone():
        for name in names:
            compile_ = [_tool("uv"), "pip", "compile", "-q", "-U", "--universal", "--no-header"]
            wanted = [str(LOCKS / f"{name}.in"), str(_OUR_REQUIREMENTS)]
            output = ["--no-annotate", "--python-version", "3.11", "-o", str(lock_of(name))]
            _run([*compile_, *wanted, *output])


def source_of(package: str) -> Path:
    """The unpacked source distribution of a package, as `locks/sources.txt` pins it by its hash.

    Raises NotInstallable.
    """
    wanted = next(line for line in _SOURCES.read_text().splitlines() if line.startswith(package))
    name = wanted.split(" ", 1)[0].replace("==", "-")
    folder = HOME / "sources"
    with _alone():
        if not (folder / name).exists():
            folder.mkdir(exist_ok=True)
            requirement = folder / f"{name}.txt"
            requirement.write_text(wanted)
            download = [_tool("python"), "-m", "pip", "download", "-q", "--no-deps"]
            # The tools have what builds it: pip reads a source's metadata by building it.
            as_source = ["--no-binary", ":all:", "--no-build-isolation", "-d", str(folder)]
            _run([*download, *as_source, "-r", str(requirement)])
            with tarfile.open(folder / f"{name}.tar.gz") as archive:
                archive.extractall(folder, filter="data")
    return folder / name


def _tool(name: str) -> str:
    """A program of the tools' environment, which pip installs."""
    home = HOME / "tools"
    mark, wanted = home / "installed.txt", lock_of("tools")
    if not mark.exists() or mark.read_text() != wanted.read_text():
        venv.create(home, with_pip=True, symlinks=True, clear=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q"]
        _run([*pip, "--disable-pip-version-check", "-r", str(wanted)])
        mark.write_text(wanted.read_text())
    return str(home / "bin" / name)


@contextmanager
def _alone() -> Iterator[None]:
    """Processes that install at the same time take turns."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str]) -> None:
    told = {ours: os.environ[name] for name, ours in _UV_NAMES.items() if name in os.environ}
    environment = {**told, **os.environ, "UV_CACHE_DIR": str(HOME / "cache"), "UV_NO_CONFIG": "1"}
    try:
        subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise NotInstallable(f"{' '.join(command[:3])}: {error.stdout.strip()}") from None
    except subprocess.TimeoutExpired:
        raise NotInstallable(f"not installed within {_INSTALL_SECONDS:.0f} s") from None
