"""SDK and server one release apart (ruling F6b), in both directions.

The last release's SDK reports to this server as before, and is not enforced. Its server knows no
leases, so this SDK asks it about each call.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aos_project.cus_demo.cus_local_provider import LocalProvider
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_last_release import last_release, whole_last_release
from tests.cus_ports import free_port
from tests.e2e.cus_served import ServedProduct, serving, wait_until_ready

pytestmark = pytest.mark.django_db(transaction=True)

_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import aos_sdk
from openai import OpenAI

assert aos_sdk.__file__.startswith(sys.argv[1]), aos_sdk.__file__
reporter = aos_sdk.cus_configure(sys.argv[2], sys.argv[3], spool_dir=sys.argv[5])
aos_sdk.cus_install_middleware()
with OpenAI(api_key="k", base_url=sys.argv[4], max_retries=0) as client:
    for number in range(3):
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": f"call {number}"}]
        )
left = reporter.flush(20.0)
print(left, reporter.stats.sent, reporter.stats.rejected, reporter.stats.conflicts)
"""

# Runs with the last release's code and SDK, on servers of its own: prints a key, then serves.
_SERVE_LAST_RELEASE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "aos_project.settings"
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from aos_project.cus_runner import web_program
from integrations.cus_sdk_keys import issue_sdk_key
from tests.cus_factories import make_integration

integration = make_integration(budget_limit_cents=5, enforcement_level="block")
print(issue_sdk_key(integration)[1], flush=True)
program = web_program({}, "127.0.0.1", int(sys.argv[1]))
os.execv(program.command[0], program.command)
"""
_ENFORCED_PROGRAM = """
import sys
import aos_sdk
from openai import OpenAI

reporter = aos_sdk.cus_configure(sys.argv[1], sys.argv[2], spool_dir=sys.argv[4])
aos_sdk.cus_install_middleware()
ran = refused = 0
with OpenAI(api_key="k", base_url=sys.argv[3], max_retries=0) as client:
    for number in range(8):
        try:
            client.chat.completions.create(
                model="gpt-4o",
                max_tokens=20,
                messages=[{"role": "user", "content": f"call {ran}"}],
            )
            ran += 1
        except aos_sdk.CusBlocked:
            refused += 1
left = reporter.flush(20.0)
print(ran, refused, left, reporter.stats.rejected, reporter.stats.conflicts)
"""
_NO_RELEASE = "the last release's commit is not in this clone: fetch the whole history"


@pytest.fixture
def provider() -> Iterator[LocalProvider]:
    with serving([(10, 20)] * 3) as server:
        yield server


def test_the_last_releases_sdk_reports_to_this_server_whatever_the_limit(
    integration: CusIntegration,
    product: ServedProduct,
    provider: LocalProvider,
    tmp_path: Path,
) -> None:
    integration.budget_limit_cents, integration.enforcement_level = 1, "block"
    integration.save()
    _, key = issue_sdk_key(integration)
    package = last_release(tmp_path)
    if package is None:
        pytest.skip(_NO_RELEASE)
    arguments = [str(package), key, product.base_url, provider.base_url, str(tmp_path / "spool")]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "0 3 0 0\n", done.stderr
    rows = CusLLMUsage.objects.filter(integration_id=integration.id)
    assert [row.policy_result for row in rows] == ["allowed"] * 3
    assert {(row.tokens_in, row.tokens_out, row.lease_id) for row in rows} == {(10, 20, None)}


@contextmanager
def _last_releases_server(release: Path) -> Iterator[tuple[str, str]]:
    """The address of the last release's product, and a key of an integration with five cents."""
    port = free_port()
    # Of this run's services it must know nothing, and its SDK is not this one.
    environment = {name: value for name, value in os.environ.items() if "URL" not in name}
    environment["PYTHONPATH"] = os.pathsep.join([str(release), str(release / "sdk" / "python")])
    command = ["-m", "aos_project.cus_embedded", "exec", "--", sys.executable, "-c"]
    server = subprocess.Popen(
        [sys.executable, *command, _SERVE_LAST_RELEASE, str(port)],
        cwd=release,
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert server.stdout is not None
        key = server.stdout.readline().decode().strip()
        assert key, "the last release's server did not start"
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(address)
        yield address, key
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=60)


def test_this_sdk_asks_the_last_releases_server_about_each_call_so_its_budget_holds(
    tmp_path: Path,
) -> None:
    release = whole_last_release(tmp_path / "release")
    if release is None:
        pytest.skip(_NO_RELEASE)
    with (
        _last_releases_server(release) as (address, key),
        serving([(10, 20)] * 5) as provider,
    ):
        arguments = [key, address, provider.base_url, str(tmp_path / "spool")]
        done = subprocess.run(
            [sys.executable, "-c", _ENFORCED_PROGRAM, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.stdout == "5 3 0 0 0\n", done.stderr
        request = urllib.request.Request(
            f"{address}/api/v1/cus/enforcement/status", headers={"X-CUS-Integration-Key": key}
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            status = json.load(answer)
    assert (status["used"]["cents"], status["held"]["cents"]) == (5, 0), status
