"""Calls past the SDK, from a customer's process to the console's coverage, over real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal

import pytest

from aos_project.cus_demo.cus_local_provider import LocalProvider
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_coverage.models import CusBypassReport
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.tasks import cus_refresh_coverage
from tests.e2e.cus_served import ServedProduct, serving
from tests.sdk.cus_reports import PATIENT

pytestmark = pytest.mark.django_db(transaction=True)

# A customer's program: of 100 calls, every 14th goes past the SDK; then an ordinary exit.
PROGRAM = f"""
{PATIENT}
import sys
from openai import OpenAI
from aos_sdk import CusOpenAIProvider, CusReporter
from aos_sdk.cus_capture.bypass_transports import detect_bypass

reporter = CusReporter()
detect_bypass(reporter)
with OpenAI(api_key="sk-local", base_url=sys.argv[1]) as client:
    governed = CusOpenAIProvider(client=client, reporter=reporter).chat_completions_create
    for number in range(1, 101):
        create = governed if number % 14 else client.chat.completions.create
        create(model="gpt-4o", messages=[{{"role": "user", "content": "call 0"}}])
"""


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    """OpenAI's wire protocol on this machine."""
    with serving([(100, 10)] * 100) as server:
        yield server


def _environment(integration: CusIntegration, product: ServedProduct) -> dict[str, str]:
    _, key = issue_sdk_key(integration)
    return os.environ | {"CUS_INTEGRATION_KEY": key, "AOS_BASE_URL": product.base_url}


def test_the_doctor_finds_a_real_server_in_order_and_sends_a_test_event(
    integration: CusIntegration, product: ServedProduct
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "aos_sdk", "doctor", "--json", "--send-test-event"],
        capture_output=True,
        text=True,
        timeout=120,
        env=_environment(integration, product),
    )

    assert run.returncode == 0, run.stdout + run.stderr
    states = {check["check"]: check["state"] for check in json.loads(run.stdout)["checks"]}
    checks = ("key", "server", "clock", "authentication", "openai", "anthropic", "test event")
    assert [states[name] for name in checks] == ["ok"] * len(checks)
    row = CusLLMUsage.objects.get()
    assert (row.agent_id, row.cost_microcents, row.flags) == ("aos-sdk-doctor", 0, [])


def test_the_doctor_finds_a_key_that_was_revoked(
    integration: CusIntegration, product: ServedProduct
) -> None:
    environment = _environment(integration, product)
    integration.sdk_keys.update(revoked_at="2026-01-01T00:00:00Z")

    run = subprocess.run(
        [sys.executable, "-m", "aos_sdk", "doctor"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )

    assert run.returncode == 1
    assert "problem  authentication: the server refuses the key" in run.stdout
    assert environment["CUS_INTEGRATION_KEY"].rsplit(":", 1)[1] not in run.stdout + run.stderr


def test_of_a_hundred_calls_seven_bypass_the_sdk_and_coverage_reads_93_percent(
    integration: CusIntegration, product: ServedProduct, provider: LocalProvider
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, provider.base_url],
        capture_output=True,
        text=True,
        timeout=120,
        env=_environment(integration, product),
    )

    assert run.returncode == 0, run.stderr
    # One line for the one call site.
    assert run.stderr.count("past the SDK") == 1
    assert CusLLMUsage.objects.count() == 93
    report = CusBypassReport.objects.get()
    assert (report.governed_calls, report.bypassed_calls) == (93, 7)
    assert (report.hosts, report.clock_skew) == ({"127.0.0.1": 7}, False)
    # A report may come before the records that it counts; beat looks again.
    cus_refresh_coverage()
    integration.refresh_from_db()
    assert integration.coverage_percent == Decimal("93.00")


# A customer's program whose provider answers in its own process. Of its seven requests that cost
# money three are captured, and what the others use nothing tells.
COSTLY_PROGRAM = """
import aos_sdk
from tests.sdk.cus_provider_http import anthropic_http, openai_http
from tests.sdk.cus_scripted_clients import anthropic_client, openai_client, whole

aos_sdk.cus_configure()
aos_sdk.cus_install_middleware()
usage = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
run = {"id": "run_1", "object": "thread.run", "model": "gpt-4o", "status": "queued"}
video = {"id": "v_1", "object": "video", "model": "sora-2", "seconds": "4", "size": "720x1280"}

def openai(document):
    return openai_client(whole(openai_http, document))

openai({"model": "gpt-6-luna", "answers": [], "usage": usage}).decisions.create(
    model="gpt-6-luna", input="x", questions=[]
)
openai(run).beta.threads.runs.create("thread_1", assistant_id="asst_1")
openai(video).videos.create(prompt="x")
openai({}).containers.create(name="x")
openai({}).fine_tuning.jobs.create(model="gpt-4o", training_file="file_1")
openai({}).realtime.client_secrets.create()
anthropic_client(whole(anthropic_http, {})).beta.sessions.create(agent="x", environment_id="x")
openai({}).moderations.create(input="x")
openai({}).batches.create(completion_window="24h", endpoint="/v1/responses", input_file_id="f_1")
"""


def test_requests_whose_usage_nothing_tells_keep_coverage_from_100_percent(
    integration: CusIntegration, product: ServedProduct
) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COSTLY_PROGRAM],
        capture_output=True,
        text=True,
        timeout=60,
        env=_environment(integration, product),
    )

    assert run.returncode == 0, run.stderr
    priced = dict(CusLLMUsage.objects.values_list("model", "pricing"))
    assert priced == {"gpt-6-luna": "table", "gpt-4o": "unmeasured", "sora-2": "table"}
    assert CusLLMUsage.objects.get(model="sora-2").cost_microcents == 40_000_000
    report = CusBypassReport.objects.get()
    assert (report.governed_calls, report.bypassed_calls) == (3, 4)
    assert report.hosts == {"api.openai.com": 3, "api.anthropic.com": 1}
    cus_refresh_coverage()
    integration.refresh_from_db()
    assert integration.coverage_percent == Decimal("42.85")
