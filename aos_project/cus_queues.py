"""The queues of the broker that workers take jobs from."""

from typing import Final

from django.conf import settings

QUEUES: Final[tuple[str, ...]] = (
    "celery",
    *sorted({route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}),
)
