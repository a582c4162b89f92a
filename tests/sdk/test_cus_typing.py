"""A program that type-checks against `openai` or `anthropic` does so with us, by mypy and pyright.

What is right stays right and keeps its exact types; what is wrong is found on the same line.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

OPENAI = """
from typing import assert_type

from openai import AsyncAzureOpenAI, AsyncOpenAI, AsyncStream, AzureOpenAI, OpenAI, Stream
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
from openai.types.responses import Response, ResponseStreamEvent

from aos_sdk import CusOpenAIProvider, create_openai_provider

hello: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]
provider = CusOpenAIProvider(integration_key="k", timeout=3)
assert_type(provider.client, OpenAI)
assert_type(create_openai_provider("sk").client, OpenAI)

create = provider.chat_completions_create
assert_type(create(model="gpt-4o", messages=hello, temperature=0.1, agent_id="a"), ChatCompletion)
assert_type(create(model="gpt-4o", messages=hello, stream=False, timeout=3.0), ChatCompletion)
for chunk in create(model="gpt-4o", messages=hello, stream=True, call_id="c"):
    assert_type(chunk, ChatCompletionChunk)
assert_type(provider.completions_create(model="m", prompt="x"), Completion)
assert_type(provider.responses_create(model="gpt-4o", input="x"), Response)
events = provider.responses_create(model="gpt-4o", input="x", stream=True)
assert_type(events, Stream[ResponseStreamEvent])
assert_type(provider.embeddings_create(model="m", input=["x"]), CreateEmbeddingResponse)
assert_type(provider.chat(hello, "gpt-4o"), ChatCompletion)
assert_type(provider.complete("x", model="gpt-4o").choices[0].message.content, str | None)
assert_type(provider.ask("x", "gpt-4o"), str)

azure = CusOpenAIProvider(client=AzureOpenAI())
assert_type(azure.client, AzureOpenAI)
assert_type(azure.chat_completions_create(model="d", messages=hello), ChatCompletion)


def either(given: CusOpenAIProvider, *, stream: bool) -> None:
    answer = given.chat_completions_create(model="gpt-4o", messages=hello, stream=stream)
    assert_type(answer, ChatCompletion | Stream[ChatCompletionChunk])


async def later() -> None:
    ours = CusOpenAIProvider(client=AsyncOpenAI())
    assert_type(ours.client, AsyncOpenAI)
    assert_type(await ours.chat_completions_create(model="m", messages=hello), ChatCompletion)
    stream = await ours.chat_completions_create(model="m", messages=hello, stream=True)
    assert_type(stream, AsyncStream[ChatCompletionChunk])
    assert_type(await ours.ask("x", "gpt-4o"), str)
    there = CusOpenAIProvider(client=AsyncAzureOpenAI())
    assert_type(await there.responses_create(model="d", input="x"), Response)
"""

ANTHROPIC = """
from typing import assert_type

from anthropic import Anthropic, AsyncAnthropic, Stream
from anthropic.lib.bedrock import AnthropicBedrock
from anthropic.lib.vertex import AsyncAnthropicVertex
from anthropic.types import Message, MessageParam, RawMessageStreamEvent

from aos_sdk import CusAnthropicProvider, create_anthropic_provider

hello: list[MessageParam] = [{"role": "user", "content": "Say hello."}]
provider = CusAnthropicProvider()
assert_type(provider.client, Anthropic)
assert_type(create_anthropic_provider().client, Anthropic)

create = provider.messages_create
assert_type(create(model="m", max_tokens=1, messages=hello, agent_id="a"), Message)
stream = create(model="m", max_tokens=1, messages=hello, stream=True)
assert_type(stream, Stream[RawMessageStreamEvent])
assert_type(provider.chat(hello, "m"), Message)
assert_type(provider.ask("x", "m"), str)
bedrock = CusAnthropicProvider(client=AnthropicBedrock(aws_region="eu-west-1"))
assert_type(bedrock.client, AnthropicBedrock)
assert_type(bedrock.messages_create(model="m", max_tokens=1, messages=hello), Message)


async def later() -> None:
    ours = CusAnthropicProvider(client=AsyncAnthropic())
    assert_type(await ours.messages_create(model="m", max_tokens=1, messages=hello), Message)
    vertex = CusAnthropicProvider(client=AsyncAnthropicVertex(region="r"))
    assert_type(await vertex.ask("x", "m"), str)
"""

OTHER_WAYS = """
from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from openai import OpenAI
from openai.types.chat import ChatCompletion

from aos_sdk import cus_configure, cus_install_middleware, cus_telemetry, cus_track, cus_wrap
from aos_sdk import CusReporter


@cus_telemetry(model="gpt-4o", provider="openai")
def ask(prompt: str, *, times: int = 1) -> ChatCompletion:
    return OpenAI().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": prompt * times}]
    )


@cus_telemetry(model="gpt-4o")
async def ask_later(prompt: str) -> str:
    return prompt


@cus_telemetry(model="gpt-4o")
def pieces(prompt: str) -> Iterator[str]:
    yield prompt


@cus_telemetry(model="gpt-4o")
async def pieces_later(prompt: str) -> AsyncIterator[str]:
    yield prompt


assert_type(ask("x", times=2), ChatCompletion)
assert_type(pieces("x"), Iterator[str])
assert_type(pieces_later("x"), AsyncIterator[str])
assert_type(cus_wrap(lambda: ask("x"), model="gpt-4o"), ChatCompletion)
assert_type(cus_configure(integration_key="k"), CusReporter)
cus_install_middleware(patch_anthropic=False)
with cus_track("gpt-4o", provider="openai") as call:
    call.set_tokens(1, 2)


async def more() -> None:
    assert_type(await ask_later("x"), str)
    assert_type(await cus_wrap(lambda: ask_later("x"), model="gpt-4o"), str)
"""

WRONG = """
from aos_sdk import CusAnthropicProvider, CusOpenAIProvider, cus_telemetry

ours, theirs = CusOpenAIProvider(), CusAnthropicProvider()
ours.chat_completions_create(model="gpt-4o", messages=[], temperature="hot")  # wrong
ours.chat_completions_create(model="gpt-4o", messages=[], no_such_argument=1)  # wrong
ours.chat_completions_create(model="gpt-4o")  # wrong
ours.embeddings_create(model=1, input="x")  # wrong
ours.client.no_such_method()  # wrong
theirs.messages_create(model="m", messages=[])  # wrong
theirs.messages_create(model="m", max_tokens="many", messages=[])  # wrong


@cus_telemetry(model="gpt-4o")
def ask(prompt: str) -> str:
    return prompt


ask(5)  # wrong
ask(prompt="x", times=2)  # wrong
ask("x").no_such_method()  # wrong
"""

PROGRAMS = {
    "uses_openai": OPENAI,
    "uses_anthropic": ANTHROPIC,
    "uses_other_ways": OTHER_WAYS,
    "is_wrong": WRONG,
}
# Where a program has errors: its file's name and the line.
Errors = set[tuple[str, int]]
_SECONDS = 390


def _mypy(folder: Path, cache: Path) -> Errors:
    """What mypy finds, at its strictest.

    mypy keeps what it made of the provider packages, and looks again at what has changed since.
    """
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull]
    command += ["--cache-dir", str(cache), "--no-error-summary"]
    programs = sorted(folder.glob("*.py"))
    run = subprocess.run([*command, *programs], capture_output=True, text=True, timeout=_SECONDS)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = re.findall(r"(\w+\.py):(\d+): error:", run.stdout)
    return {(name, int(line)) for name, line in found}


def _pyright(folder: Path, _cache: Path) -> Errors:
    """What pyright finds, at its strictest."""
    settings = json.dumps({"typeCheckingMode": "strict", "include": ["*.py"]})
    (folder / "pyrightconfig.json").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    run = subprocess.run(
        [*command, "--project", folder],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    told = json.loads(run.stdout)
    assert told["summary"]["filesAnalyzed"] == len(PROGRAMS)
    found = [error for error in told["generalDiagnostics"] if error["severity"] == "error"]
    return {(Path(error["file"]).name, error["range"]["start"]["line"] + 1) for error in found}


# The programs together, because a checker spends its time on the provider packages' own types.
@pytest.mark.timeout(_SECONDS + 10)
@pytest.mark.parametrize("errors_in", [_mypy, _pyright], ids=["mypy", "pyright"])
def test_a_program_keeps_its_types_and_its_errors(
    errors_in: Callable[[Path, Path], Errors], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    wrong: Errors = set()
    for name, program in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(program, encoding="utf-8")
        lines = enumerate(program.splitlines(), 1)
        wrong |= {(f"{name}.py", number) for number, line in lines if line.endswith("# wrong")}

    assert errors_in(tmp_path, pytestconfig.cache.mkdir("typing")) == wrong
