"""Every example of the SDK's README runs as it stands, and does what it says."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aos_sdk
from tests.sdk.conftest import KEY
from tests.sdk.cus_fake_servers import Answer, CusFakeCollector, CusFakeServer, cus_chat_completion
from tests.sdk.cus_reports import PATIENT

README = Path(aos_sdk.__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
# What an example promises: the value of a line, in a comment behind it.
_PROMISE = re.compile(r"  # (-?\d+|True|False)\b")
# An example that uses one of these makes a governed call.
_GOVERNS = re.compile(r"CusOpenAIProvider|CusAnthropicProvider|@?cus_\w+\(")

# Runs an example as it stands, and lets its exit wait for a busy machine.
_PATIENTLY = PATIENT + "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"


def _reply(path: str, body: dict[str, Any]) -> Answer:
    if path.endswith("/messages"):
        return 200, _message(body["model"]), {}
    return 200, cus_chat_completion(), {}


def _message(model: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1_000, "output_tokens": 500},
    }


def _checked(example: str) -> str:
    """The example, with each value that it promises asserted."""
    lines = example.splitlines()
    for statement in ast.parse(example).body:
        assert statement.end_lineno is not None
        promise = _PROMISE.search(lines[statement.end_lineno - 1])
        if isinstance(statement, ast.Expr) and promise:
            code = ast.unparse(statement)
            lines[statement.end_lineno - 1] += f"\nassert ({code}) == {promise[1]}, {code!r}"
    return "\n".join(lines)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.strip().splitlines()[-1][:40])
def test_an_example_runs(example: str, collector: CusFakeCollector, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(_checked(example), encoding="utf-8")
    with CusFakeServer(_reply) as provider:
        run = subprocess.run(
            [sys.executable, "-c", _PATIENTLY, script],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env=os.environ
            | {
                "CUS_INTEGRATION_KEY": KEY,
                "AOS_BASE_URL": collector.url,
                "OPENAI_API_KEY": "sk-local",
                "OPENAI_BASE_URL": f"{provider.url}/v1",
                "ANTHROPIC_API_KEY": "sk-local",
                "ANTHROPIC_BASE_URL": provider.url,
            },
        )

    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    governed = _GOVERNS.search(example) is not None
    calls = len(provider.requests)
    assert len(collector.stored) == (calls if governed else 0)
    assert calls or not governed
    assert {record["cost_cents"] for record in collector.stored.values()} <= {1, 2}


def test_there_are_examples_and_promises() -> None:
    assert len(EXAMPLES) >= 9
    assert sum(bool(_PROMISE.search(example)) for example in EXAMPLES) >= 2
