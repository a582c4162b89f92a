"""The other end of `cus_storing`: a process that stores in one database on demand."""

import json
import os
import subprocess
import sys
from typing import Self

from aos_project.cus_runner import BASE_DIR
from benchmarks.cus_databases import Sender
from benchmarks.cus_served import database_urls


class StoreProcess:
    """`with StoreProcess(database, sender) as store:` it has no turn until it is given one."""

    def __init__(self, database: str, sender: Sender) -> None:
        environment = {**os.environ, **database_urls(database)}
        environment["DJANGO_SETTINGS_MODULE"] = "aos_project.settings"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cus_storing"],
            cwd=BASE_DIR,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(sender.key)

    def turn(self, work: str, *, batch: int, batches: int) -> float:
        """Seconds for so many new batches by `statement`, `copy` or `copy_rows`."""
        self._say(json.dumps({"work": work, "batch": batch, "batches": batches}))
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "a storing process ended before it was done; its traceback is above"
        return float(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
