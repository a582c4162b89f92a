"""A real worker, started as the runner starts it, sweeps holds whatever the other jobs do."""

from pathlib import Path

import pytest
from pytest_django import Settings
from redis import Redis

from aos_project.celery import app
from enforcement import tasks
from integrations.cus_lifecycle.models import CusIntegration
from integrations.tasks import cus_send_mail
from telemetry.cus_holds.models import CusEnforcementHold
from tests.conftest import as_if
from tests.cus_factories import SdkClient
from tests.e2e.cus_workers import PATIENCE_SECONDS, work_until


@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(2 * PATIENCE_SECONDS)
def test_holds_are_swept_while_the_job_that_sends_mail_gets_nowhere(
    sdk: SdkClient, settings: Settings, tmp_path: Path
) -> None:
    CusIntegration.objects.update(token_limit_month=1_000_000)
    sdk.check("over")
    assert CusEnforcementHold.objects.exists()
    as_if("UPDATE cus_enforcement_holds SET expires_at = now() - interval '1 second'")
    # As with a mail server that hangs: no worker takes the tasks of the mail's queue.
    app.send_task(cus_send_mail.name)
    app.send_task(tasks.cus_sweep_holds.name)

    output = work_until(
        lambda: not CusEnforcementHold.objects.exists(), "sweeper", tmp_path / "log"
    )

    assert not CusEnforcementHold.objects.exists(), output
    with Redis.from_url(settings.REDIS_URL) as broker:
        assert broker.llen("celery") > 0
