"""The Celery application: `celery -A aos_project worker` and `… beat`."""

import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")

app = Celery("aos_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect(weak=False)
@beat_init.connect(weak=False)
def _refuse_evidence_owner(**_signal: Any) -> None:
    """Worker and beat start under the same condition as the web does."""
    from django.core.exceptions import ImproperlyConfigured

    from aos_project.cus_production import refuse_evidence_owner

    try:
        refuse_evidence_owner()
    except ImproperlyConfigured as error:
        # Celery logs a receiver's exception and goes on; only this ends the process.
        raise SystemExit(str(error)) from None
