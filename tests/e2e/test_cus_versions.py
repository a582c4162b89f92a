"""The last release's SDK with this server (ruling F6b): it reports as before, and is not enforced."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aos_project.cus_demo.cus_local_provider import LocalProvider
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.cus_last_release import last_release
from tests.e2e.cus_served import ServedProduct, serving

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
        pytest.skip("the last release's commit is not in this clone: fetch the whole history")
    arguments = [str(package), key, product.base_url, provider.base_url, str(tmp_path / "spool")]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "0 3 0 0\n", done.stderr
    rows = CusLLMUsage.objects.filter(integration_id=integration.id)
    assert [row.policy_result for row in rows] == ["allowed"] * 3
    assert {(row.tokens_in, row.tokens_out, row.lease_id) for row in rows} == {(10, 20, None)}
