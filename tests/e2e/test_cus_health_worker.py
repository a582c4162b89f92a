"""A real worker, started as the runner starts it, takes health checks from the real broker."""

from pathlib import Path

import pytest
from pytest_django import Settings
from redis import Redis

from aos_project.celery import app
from integrations import tasks
from tests.cus_factories import make_integration
from tests.cus_raw_server import RawServer, says
from tests.e2e.cus_workers import PATIENCE_SECONDS, work_until

KEY = "canary-0123456789abcdef"


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(2 * PATIENCE_SECONDS)
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

        def is_checked() -> bool:
            integration.refresh_from_db()
            return integration.health_checked_at is not None

        output = work_until(
            is_checked,
            "checks",
            tmp_path / "log",
            CUS_ALLOW_HTTP_PROVIDERS="1",
            CUS_ALLOWED_PRIVATE_HOSTS=f"127.0.0.1:{server.port}",
        )

    assert integration.health_state == "degraded"
    assert "Wrong key [masked]" in (integration.health_message or "")
    assert KEY not in output
