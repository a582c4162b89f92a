"""The embedded Valkey: the jobs' queue, kept on disk, behind a private socket and a password."""

import shutil
import signal

import redis

from aos_project.cus_embedded.home import Home
from aos_project.cus_embedded.passwords import write_private
from aos_project.cus_embedded.process import Program, end_orphan

_STOP = ((signal.SIGTERM, 10.0),)


class Valkey:
    """Prepare it, run its program, wait until it is ready, use its environment."""

    name = "valkey"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._data = home.folder / "valkey"
        self._socket = home.sockets / "valkey.sock"
        self._config = self._data / "valkey.conf"
        self.log = home.folder / "logs" / "valkey.log"
        self.program = Program(
            name=self.name,
            command=[str(home.valkey_program), str(self._config)],
            cwd=self._data,
            stop=_STOP,
            env={"LC_ALL": "C"},
            account=home.account,
            on_orphan=signal.SIGTERM,
        )

    def prepare(self) -> None:
        end_orphan("Valkey", self._data / "valkey.pid", self._config, _STOP)
        folder = self._home.own_folder("valkey")
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(self._config, self._settings())
        if self._home.account:
            shutil.chown(self._config, self._home.account.uid, self._home.account.gid)
        (folder / "valkey.pid").unlink(missing_ok=True)

    def ready(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    @property
    def url(self) -> str:
        return f"unix://:{self._home.passwords['valkey']}@{self._socket}?db=0"

    def environment(self) -> dict[str, str]:
        return {"REDIS_URL": self.url}

    def _settings(self) -> str:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "requirepass": self._home.passwords["valkey"],
            # Jobs survive a restart. If the memory is full, Valkey refuses new jobs.
            "appendonly": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "pidfile": "valkey.pid",
            # The command line must keep naming the file, by which we recognise our server.
            "set-proc-title": "no",
            "loglevel": "warning",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())
