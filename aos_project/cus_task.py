"""What a job may carry: names of things, never their secrets."""

from typing import Any

from celery import Task

from integrations.cus_web.errors import CusError
from integrations.cus_web.redaction import holds_secret


class SecretInTask(CusError):
    """A task's arguments lie in the broker in plain, so they must be ids. One holds a secret."""

    code, status = "secret_in_task", 500


class CusTask(Task):  # type: ignore[type-arg]  # not subscriptable at run time
    """A task that refuses to be sent with a secret, known or look-alike."""

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Send the task. Raises SecretInTask, which quotes nothing."""
        if holds_secret((args, kwargs)):
            raise SecretInTask
        return super().apply_async(args, kwargs, *rest, **options)
