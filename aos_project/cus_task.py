"""What all jobs have in common: arguments are ids, never secrets, and each run is counted."""

import time
from typing import Any

import structlog
from celery import Task
from celery.states import FAILURE, SUCCESS
from django.db import Error

from integrations.cus_jobs.runs import count_run
from integrations.cus_web.errors import CusError
from integrations.cus_web.log_context import begin_job
from integrations.cus_web.redaction import holds_secret

log = structlog.get_logger(__name__)


class SecretInTask(CusError):
    """The broker stores a task's arguments unencrypted, so they must be ids. One holds a secret."""

    code, status = "secret_in_task", 500


class CusTask(Task):  # type: ignore[type-arg]  # not subscriptable at run time
    """A task that refuses arguments with a secret, or with a text that looks like a secret.

    A worker counts its runs for the metrics (`cus_jobs`).
    """

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Send the task. Raises SecretInTask, which quotes no argument."""
        if holds_secret((args, kwargs)):
            raise SecretInTask
        return super().apply_async(args, kwargs, *rest, **options)

    def before_start(self, task_id: str, *_run: Any) -> None:
        """Note which run it is, and when it began. Celery calls this in the worker."""
        begin_job(self.name, task_id)
        self.request.update(cus_began=time.monotonic())

    def after_return(self, status: str, *_run: Any) -> None:
        """Count the run. Celery calls this in the worker, after the task returned or raised."""
        if status not in (SUCCESS, FAILURE):
            return
        seconds = time.monotonic() - self.request.get("cus_began", time.monotonic())
        try:
            count_run(self.name, succeeded=status == SUCCESS, seconds=seconds)
        except Error as error:
            # The job is done; only its metrics miss a run.
            log.warning("a run was not counted", job=self.name, error=type(error).__name__)
