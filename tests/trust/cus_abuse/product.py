"""The product under attack: started as `make run` starts it, on servers of its own."""

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from aos_project.cus_embedded.process import launch, stop, wait_for
from aos_project.cus_runner import _workers, web_program
from tests.cus_ports import free_port
from tests.cus_prepared_database import PreparedDatabase
from tests.trust.cus_abuse.mail import MailSink
from tests.trust.cus_door import Door
from tests.trust.cus_memory import family
from tests.trust.cus_real_product import RealProduct, Row

_START_SECONDS = 60.0
LOW_QUOTA = 12
_QUOTAS = ("INTEGRATIONS", "PRICE_OVERRIDES", "INVITATIONS", "SDK_KEYS_A_DAY", "TOKENS_A_DAY")
# As `make_people` describes it.
Tenant = dict[str, Any]
ONLY_ANSWERS = "tests.trust.cus_abuse.only_answers:application"


class AttackedProduct(RealProduct):
    """PostgreSQL, Valkey, the web server with the settings of `make run`, and a mail server.

    `database` is a connection past all privileges. Jobs do not run until `working` starts them, so that what the web server does by itself shows.
    """

    def __init__(self, prepared: PreparedDatabase | None = None) -> None:
        super().__init__(web_servers=0, prepared=prepared)
        self.port = 0
        self.mail = MailSink()
        self._unused: list[Tenant] = []

    def door(self, number: int, key: str) -> Door:
        """To the web server; the number does not matter: there is one."""
        return Door(self.port, key)

    def new_tenant(self) -> Tenant:
        """A tenant that was not attacked yet."""
        if not self._unused:
            # Several at once: to start Django takes longer than to make a tenant.
            people = self._run("-m", "tests.trust.cus_abuse.make_people", "20")
            self._unused = json.loads(people)
        return self._unused.pop()

    def connect_as_app(self) -> "psycopg.Connection[Row]":
        """To the database, by the login that the product itself uses."""
        return psycopg.connect(self.environment["DATABASE_URL"], connect_timeout=5)

    def superuser_url(self) -> str:
        """The address of the database for who stands above all privileges."""
        return self._postgres.url("superuser", "cus")

    def set_limits(self, key: str, **columns: object) -> None:
        """Give the key's integration limits, past all doors."""
        changes = ", ".join(f"{name} = %s" for name in columns)
        self.database.execute(
            f"UPDATE cus_integrations SET {changes} WHERE id = %s".encode(),
            [*columns.values(), key.split(":")[1]],
        )

    def log(self) -> str:
        """What the web server wrote so far."""
        return self._log.read_text(errors="replace")

    def web_cpu_seconds(self) -> float:
        """Processor time that the web server and its workers took so far."""
        ticks = sum(_ticks(pid) for pid in family(self._web_pid))
        return ticks / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def working(self) -> Iterator[None]:
        """Within it jobs run: workers and beat, as `make run` starts them."""
        with ExitStack() as stack:
            for program in _workers(os.environ | self.environment):
                log = stack.enter_context((self._home.folder / f"{program.name}.log").open("wb"))
                child = launch(program, log)
                self._sentinel.watch_group(child.pid)
                stack.callback(self._sentinel.forget_group, child.pid)
                stack.callback(stop, program, child)
            yield

    @contextmanager
    def serving(self, application: str) -> Iterator[int]:
        """Another application on a web server with the same settings; yields its port."""
        with ExitStack() as stack:
            yield self._serve(stack, application)[0]

    def _start_servers(self, stack: ExitStack) -> None:
        super()._start_servers(stack)
        # One for all that attacks look at: to connect takes longer than to look.
        self.database = stack.enter_context(self.connect())
        stack.enter_context(self.mail)
        self._log = self._home.folder / "web.log"
        self.environment |= {
            "LOG_LEVEL": "INFO",
            "EMAIL_URL": f"smtp://127.0.0.1:{self.mail.port}",
            # Listeners of the attacks stand for providers.
            "CUS_ALLOWED_PRIVATE_HOSTS": "127.0.0.1",
            "CUS_ALLOW_HTTP_PROVIDERS": "true",
            "CUS_REQUIRE_TOTP": "false",
            # So low that an attack has time to meet them.
            **{f"CUS_QUOTA_{name}": str(LOW_QUOTA) for name in _QUOTAS},
        }
        self.port, self._web_pid = self._serve(stack)

    def _serve(self, stack: ExitStack, application: str | None = None) -> tuple[int, int]:
        port = free_port()
        other: dict[str, Any] = {"application": application} if application else {}
        program = web_program(os.environ | self.environment, "127.0.0.1", port, **other)
        path = self._home.folder / f"other-{port}.log" if application else self._log
        child = launch(program, stack.enter_context(path.open("wb")))
        self._sentinel.watch_group(child.pid)
        stack.callback(self._sentinel.forget_group, child.pid)
        stack.callback(stop, program, child)
        wait_for(lambda: child.poll() is not None or _is_ready(port), _START_SECONDS)
        assert child.poll() is None, path.read_text()[-2000:]
        return port, child.pid


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # After the name, which may hold anything: user and system time are the 12th and 13th.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def settle(seconds: float = 0.5) -> None:
    """Let what an attack left behind come to its end."""
    time.sleep(seconds)
