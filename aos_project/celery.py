"""The Celery application: `celery -A aos_project worker` and `… beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aos_project.settings")

app = Celery("aos_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
