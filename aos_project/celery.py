"""The Celery application: `celery -A aos_project worker` and `… beat`."""

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")

app = Celery("aos_project", task_cls="aos_project.cus_task:CusTask")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect(weak=False)
def _keep_our_logging(loglevel: Any = None, **_signal: Any) -> None:
    """Keep Django's logging, which masks secrets, with Celery's level. Celery would replace it."""
    if loglevel:
        logging.getLogger().setLevel(loglevel)


@worker_init.connect(weak=False)
@beat_init.connect(weak=False)
def _refuse_evidence_owner(**_signal: Any) -> None:
    """Refuse to start worker and beat as the owner of evidence, like the web server."""
    from django.core.exceptions import ImproperlyConfigured

    from aos_project.cus_production import refuse_evidence_owner

    try:
        refuse_evidence_owner()
    except ImproperlyConfigured as error:
        # Celery logs a receiver's exception and continues; only SystemExit ends the process.
        raise SystemExit(str(error)) from None
