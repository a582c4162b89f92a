"""A worker of the product, started as the runner starts it, until something is so."""

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from django.db import connections

from aos_project.cus_runner import _workers

PATIENCE_SECONDS = 90


def work_until(is_done: Callable[[], bool], name: str, log: Path, **settings: str) -> str:
    """What the worker of that name wrote until it was done, or had ended, or was waited for."""
    database = connections["default"].settings_dict["NAME"]
    environment = {
        **os.environ,
        "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}").geturl(),
        **settings,
    }
    program = next(one for one in _workers(environment) if one.name == name)
    with log.open("wb") as output:
        worker = subprocess.Popen(
            program.command,
            cwd=program.cwd,
            env=dict(program.env or {}),
            stdout=output,
            stderr=output,
        )
        try:
            for _ in range(PATIENCE_SECONDS * 5):
                if is_done() or worker.poll() is not None:
                    break
                threading.Event().wait(0.2)
        finally:
            worker.terminate()
            worker.wait(30)
    return log.read_text()
