"""The arguments of jobs: ids, never secrets."""

from typing import Any

from celery import Task

from integrations.cus_web.errors import CusError
from integrations.cus_web.redaction import holds_secret


class SecretInTask(CusError):
    """The broker stores a task's arguments unencrypted, so they must be ids. One holds a secret."""

    code, status = "secret_in_task", 500


class CusTask(Task):  # type: ignore[type-arg]  # not subscriptable at run time
    """A task that refuses arguments with a secret, or with a text that looks like a secret."""

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Send the task. Raises SecretInTask, which quotes no argument."""
        if holds_secret((args, kwargs)):
            raise SecretInTask
        return super().apply_async(args, kwargs, *rest, **options)
