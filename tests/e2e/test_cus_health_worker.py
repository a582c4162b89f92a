"""A real worker, started as the runner starts it, takes health checks from the real broker."""

import os
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections
from pytest_django import Settings
from redis import Redis

from aos_project.celery import app
from aos_project.cus_runner import _workers
from integrations import tasks
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_integration
from tests.cus_raw_server import RawServer, says

KEY = "canary-0123456789abcdef"
_PATIENCE = 90


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(2 * _PATIENCE)
def test_the_worker_for_checks_checks_and_says_nothing_of_the_key(
    settings: Settings, tmp_path: Path
) -> None:
    settings.CUS_ALLOW_HTTP_PROVIDERS = True
    with RawServer(says(401, {"error": {"message": f"Wrong key {KEY}"}})) as server:
        integration = make_integration(
            provider_type="custom", config={"base_url": server.url}, credential={"api_key": KEY}
        )
        app.send_task(tasks.cus_check_health.name, args=[str(integration.id)])
        with Redis.from_url(settings.REDIS_URL) as broker:
            assert KEY.encode() not in b"".join(broker.lrange("cus_health", 0, -1))

        said = _work_until_checked(integration, server, tmp_path / "log")

    assert integration.health_state == "degraded"
    assert "Wrong key [masked]" in (integration.health_message or "")
    assert KEY not in said


def _work_until_checked(integration: CusIntegration, server: RawServer, log: Path) -> str:
    """What the worker wrote until the check's result was there."""
    database = connections["default"].settings_dict["NAME"]
    environment = {
        **os.environ,
        "DATABASE_URL": urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database}").geturl(),
        "CUS_ALLOW_HTTP_PROVIDERS": "1",
        "CUS_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{server.port}",
    }
    checks = next(program for program in _workers(environment) if program.name == "checks")
    with log.open("wb") as output:
        worker = subprocess.Popen(
            checks.command, cwd=checks.cwd, env=dict(checks.env or {}), stdout=output, stderr=output
        )
        try:
            for _ in range(_PATIENCE * 5):
                integration.refresh_from_db()
                if integration.health_checked_at or worker.poll() is not None:
                    break
                threading.Event().wait(0.2)
        finally:
            worker.terminate()
            worker.wait(30)
    return log.read_text()
