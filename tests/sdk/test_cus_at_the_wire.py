"""What is reported agrees with what a server saw: each request that is a call is one record or one
bypassed call, whichever way the program made it.
"""

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import Callable
from typing import Any, Final

import anthropic
import openai
import pytest
import requests
import urllib3
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from aos_sdk import (
    CusOpenAIProvider,
    cus_install_middleware,
    cus_telemetry,
    cus_track,
    cus_uninstall_middleware,
    cus_wrap,
)
from aos_sdk.cus_capture.bypass_transports import watch_of
from tests.sdk.cus_capture_cases import CHAT, MESSAGE, CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_http_programs import HEADERS
from tests.sdk.cus_provider_http import openai_http

STEPS: Final = 60
# An answer that is the n-th of a client's attempts: `/fails` answers 500 twice.
ATTEMPTS: Final = 3
# Where the package is not patched: each attempt is a request of its own to `patch_http`, and a block
# cannot know whether what it raises came from a client.
UNTOLD: Final = ("retries", "wrong_arguments_within")
WITHOUT_MESSAGES: Any = {"model": "gpt-4o"}
RAW: Any = {"headers": {"X-Stainless-Raw-Response": "true"}}


class Program:
    """A program with a client of each kind. Each method makes `calls` logical calls or none."""

    def __init__(self, provider: CusFakeProvider) -> None:
        self.url = provider.url
        base_url = f"{provider.url}/v1"
        self.openai = openai.OpenAI(api_key="k", base_url=base_url)
        self.anthropic = anthropic.Anthropic(api_key="k", base_url=provider.url)
        self.http = openai_http.Client(headers=HEADERS)
        self.requests = requests.Session()
        self.pool = urllib3.PoolManager()
        self.retried = 0

    def close(self) -> None:
        for client in (self.openai, self.anthropic, self.http, self.requests):
            client.close()
        self.pool.clear()

    def method(self) -> int:
        self.openai.chat.completions.create(**CHAT)
        return 1

    def stream(self) -> int:
        list(self.openai.chat.completions.create(**CHAT, stream=True))
        return 1

    def raw(self) -> int:
        self.openai.chat.completions.with_raw_response.create(**CHAT).parse()
        return 1

    def message_stream(self) -> int:
        with self.anthropic.messages.stream(**MESSAGE) as stream:
            stream.get_final_message()
        return 1

    def abandoned(self) -> int:
        stream = self.openai.chat.completions.create(**CHAT, stream=True)
        next(iter(stream))
        stream.close()
        return 1

    def post(self) -> int:
        self.openai.post("/chat/completions", cast_to=ChatCompletion, body=CHAT)
        return 1

    def posted_stream(self) -> int:
        asked: Any = {"cast_to": ChatCompletion, "body": {**CHAT, "stream": True}, "options": RAW}
        kind = openai.Stream[ChatCompletionChunk]
        raw: Any = self.openai.post("/chat/completions", **asked, stream=True, stream_cls=kind)
        list(raw.parse())
        return 1

    def later(self) -> int:
        async def ask() -> None:
            # A client's connections belong to the loop of their first use.
            async with openai.AsyncOpenAI(api_key="k", base_url=f"{self.url}/v1") as client:
                await client.chat.completions.create(**CHAT)
                await client.post("/chat/completions", cast_to=ChatCompletion, body=CHAT)

        asyncio.run(ask())
        return 2

    def retries(self) -> int:
        self.retried += 1
        body: Any = {**CHAT, "model": "gpt-4o/fails", "user": uuid.uuid4().hex}
        options: Any = self.openai.with_options(max_retries=ATTEMPTS)
        if self.retried % 2:
            options.chat.completions.create(**body)
        else:
            options.post("/chat/completions", cast_to=ChatCompletion, body=body)
        return 1

    def refused(self) -> int:
        once = self.openai.with_options(max_retries=0)
        with contextlib.suppress(openai.RateLimitError):
            once.chat.completions.create(**{**CHAT, "model": "gpt-4o/refused"})
        return 1

    def wrong_arguments(self) -> int:
        with contextlib.suppress(TypeError):
            self.openai.chat.completions.create(**WITHOUT_MESSAGES)
        with contextlib.suppress(TypeError):
            self.anthropic.messages.create(**WITHOUT_MESSAGES)
        return 0

    def wrong_arguments_within(self) -> int:
        with contextlib.suppress(TypeError), cus_track("gpt-4o", provider="openai"):
            self.openai.chat.completions.create(**WITHOUT_MESSAGES)
        return 0

    def no_models_work(self) -> int:
        self.openai.post("/moderations", cast_to=object, body={"input": "a text"})
        self.requests.post(f"{self.url}/v1/moderations", json={"input": "a text"}, timeout=20)
        return 0

    def within_a_function(self) -> int:
        cus_telemetry(model="gpt-4o", provider="openai")(self.method)()
        return 1

    def within_two(self) -> int:
        cus_wrap(self.within_a_function, model="gpt-4o")
        return 1

    def two_within_a_block(self) -> int:
        with cus_track("gpt-4o", provider="openai"):
            return self.post() + self.stream()

    def adapter(self) -> int:
        CusOpenAIProvider(client=self.openai).chat_completions_create(**CHAT)
        return 1

    def by_httpx(self) -> int:
        self.http.post(f"{self.url}/v1/chat/completions", json=CHAT)
        return 1

    def by_httpx_stream(self) -> int:
        body = {**CHAT, "stream": True}
        with self.http.stream("POST", f"{self.url}/v1/messages", json=body) as response:
            list(response.iter_lines())
        return 1


class HttpProgram(Program):
    """With clients whose requests only `patch_http` sees."""

    def by_requests(self) -> int:
        self.requests.post(f"{self.url}/v1/chat/completions", json=CHAT, timeout=20)
        return 1

    def by_requests_stream(self) -> int:
        body = {**MESSAGE, "stream": True}
        asked: Any = {"json": body, "timeout": 20, "stream": True}
        with self.requests.post(f"{self.url}/v1/messages", **asked) as response:
            list(response.iter_lines())
        return 1

    def by_requests_within(self) -> int:
        return cus_telemetry(model="gpt-4o")(self.by_requests)()

    def by_urllib3(self) -> int:
        text = json.dumps(CHAT)
        self.pool.request("POST", f"{self.url}/v1/responses", body=text, headers=HEADERS)
        return 1


def _ways(program: Program) -> list[Callable[[], int]]:
    names = [
        name
        for kind in (Program, HttpProgram)
        for name, value in vars(kind).items()
        if callable(value) and not name.startswith("_") and name not in ("close",)
    ]
    return [getattr(program, name) for name in names if hasattr(program, name)]


def _calls_seen(provider: CusFakeProvider, since: int) -> int:
    """The server's own count: requests for a model's work, without repeated attempts."""
    seen = [(path, body) for path, body in provider.requests[since:] if "moderations" not in path]
    repeated = sum(1 for _, body in seen if "/fails" in body["model"])
    return len(seen) - repeated + repeated // ATTEMPTS


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("patch_http", [False, True])
def test_records_and_bypassed_calls_are_the_calls_that_the_server_saw(
    patch_http: bool, seed: int, provider: CusFakeProvider, recorder: CusRecordingReporter
) -> None:
    """The patch comes and goes meanwhile, and with it what is governed."""
    chance = random.Random(seed)
    since = len(provider.requests)
    program = HttpProgram(provider) if patch_http else Program(provider)
    hosts = ("127.0.0.1",) if patch_http else ()
    options: Any = {"patch_http": patch_http, "http_hosts": hosts}
    calls = 0
    for _ in range(STEPS // len(_ways(program)) + 1):
        # Without patches of the packages, their calls are bypassed, or recorded at the transport.
        patched = chance.random() < 0.7
        cus_install_middleware(patch_openai=patched, patch_anthropic=patched, **options)
        ways = [way for way in _ways(program) if patched or way.__name__ not in UNTOLD]
        calls += sum(way() for way in chance.sample(ways, len(ways)))
        cus_uninstall_middleware()
    program.close()

    governed, bypassed, _ = watch_of(recorder).snapshot()
    assert calls == _calls_seen(provider, since)
    assert len(recorder.rows) + bypassed == calls
    assert governed == len(recorder.rows)
    assert bypassed == 0 if patch_http else bypassed > 0
    assert recorder.stats.faults == 0
