"""Where a call went: provider, host, region, project and key hint follow from the client (M5a)."""

import asyncio
import gc
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest

from aos_sdk import CusOpenAIProvider, cus_install_middleware, cus_track
from aos_sdk.cus_capture import origins
from aos_sdk.cus_capture.origins import called_by
from tests.sdk.cus_capture_cases import CHAT, MESSAGE, MESSAGES, CusRecordingReporter
from tests.sdk.cus_fake_servers import cus_chat_completion
from tests.sdk.cus_provider_http import anthropic_http, openai_http
from tests.sdk.cus_scripted_clients import (
    KEY,
    REQUEST_ID,
    anthropic_client,
    async_openai_client,
    azure_client,
    openai_client,
    platform_client,
    streamed,
    whole,
)

COMPLETION = whole(openai_http, cus_chat_completion())
REPLY: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-20250514",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1_000, "output_tokens": 500},
}
SPOKEN = whole(anthropic_http, REPLY)


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


@pytest.mark.parametrize(
    ("base_url", "provider", "region"),
    [
        ("https://api.openai.com/v1", "openai", None),
        ("https://eu.api.openai.com/v1", "openai", "eu"),
        ("https://us.api.openai.com/v1", "openai", "us"),
        ("https://acme.openai.azure.com/openai/v1/", "azure_openai", None),
        ("https://api.deepseek.com", "deepseek", None),
        ("https://api.groq.com/openai/v1", "groq", None),
        ("https://openrouter.ai/api/v1", "openrouter", None),
        ("https://api.mistral.ai/v1", "mistral", None),
        ("https://api.x.ai/v1", "x-ai", None),
        ("https://eu-west-1.api.x.ai/v1", "x-ai", "eu-west-1"),
        ("https://api.together.xyz/v1", "together", None),
        ("https://api.fireworks.ai/inference/v1", "fireworks", None),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "google", None),
        ("https://europe-west4-aiplatform.googleapis.com/v1/x", "vertex", "europe-west4"),
        ("https://aiplatform.googleapis.com/v1/x", "vertex", "global"),
        ("https://aiplatform.eu.rep.googleapis.com/v1/x", "vertex", "eu"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1", "bedrock", "us-west-2"),
        ("https://bedrock-mantle.us-east-1.api.aws/openai/v1", "bedrock", "us-east-1"),
    ],
)
def test_a_calls_provider_and_region_are_those_of_the_host_that_was_called(
    base_url: str, provider: str, region: str | None, recorder: CusRecordingReporter
) -> None:
    openai_client(COMPLETION, base_url).chat.completions.create(**CHAT)
    row = recorder.row

    assert (row["provider"], row.get("region")) == (provider, region)
    assert row["host"] == base_url.split("/")[2]
    assert (row["tokens_in"], row["tokens_out"]) == (1_000, 500)


def test_a_host_that_nobody_knows_is_told_and_leaves_the_provider_to_the_integration(
    recorder: CusRecordingReporter,
) -> None:
    url = "http://user:secret@LLM.Example.internal:8080/path/v1?key=1"
    openai_client(COMPLETION, url).chat.completions.create(**CHAT)
    row = recorder.row

    assert row["host"] == "llm.example.internal"
    assert "provider" not in row
    assert (row["tokens_in"], row["tokens_out"]) == (1_000, 500)
    assert not any(secret in str(row) for secret in ("user", "8080", "path"))


def test_the_protocol_of_the_client_decides_how_usage_is_read(
    recorder: CusRecordingReporter,
) -> None:
    usage = {**REPLY["usage"], "cache_read_input_tokens": 200}
    reply = whole(anthropic_http, {**REPLY, "usage": usage})
    anthropic_client(reply, "https://api.deepseek.com/anthropic").messages.create(**MESSAGE)
    row = recorder.row

    assert (row["provider"], row["tokens_in"], row["tokens_cached"]) == ("deepseek", 1_200, 200)


def _bedrock(monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    kind = anthropic.AnthropicBedrock
    keys = {"aws_access_key": "k", "aws_secret_key": "s"}
    if "api_key" in inspect.signature(kind).parameters:
        keys = {"api_key": KEY}
    else:
        # Old releases sign by boto3 alone.
        monkeypatch.setattr("anthropic.lib.bedrock._auth.get_auth_headers", lambda **_: {})
    return platform_client(kind, SPOKEN, aws_region="us-east-1", **keys, **more)


@pytest.mark.parametrize(
    ("model", "region"),
    [
        ("anthropic.claude-sonnet-4-20250514-v1:0", "us-east-1"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "us"),
        ("eu.anthropic.claude-sonnet-4-20250514-v1:0", "eu"),
        ("apac.anthropic.claude-sonnet-4-20250514-v1:0", "apac"),
        ("global.anthropic.claude-sonnet-4-20250514-v1:0", "global"),
    ],
)
def test_at_bedrock_a_regional_name_wins_over_the_host_and_is_kept(
    model: str, region: str, recorder: CusRecordingReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bedrock(monkeypatch).messages.create(**{**MESSAGE, "model": model})
    row = recorder.row

    assert (row["provider"], row["region"]) == ("bedrock", region)
    assert row["host"] == "bedrock-runtime.us-east-1.amazonaws.com"
    assert (row["model"], row["model_requested"]) == ("claude-sonnet-4-20250514", model)


def test_an_inference_profile_is_known_by_its_arn_too() -> None:
    region = origins._PROVIDER_OF_CLIENT["AnthropicBedrock"].region_of_model
    assert region is not None

    arn = "arn:aws:bedrock:us-east-1:123:inference-profile/"
    assert region(f"{arn}eu.anthropic.claude-sonnet-4-v1:0") == "eu"
    assert region(f"{arn}abcd1234") is None


def test_a_platform_behind_another_host_has_its_clients_region(
    recorder: CusRecordingReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bedrock(monkeypatch, base_url="https://proxy.example/bedrock").messages.create(**MESSAGE)
    row = recorder.row

    assert (row["provider"], row["host"], row["region"]) == (
        "bedrock", "proxy.example", "us-east-1",
    )  # fmt: skip


def test_an_azure_deployment_is_what_was_asked_for(recorder: CusRecordingReporter) -> None:
    azure_client(COMPLETION).chat.completions.create(model="prod-chat", messages=MESSAGES)
    row = recorder.row

    assert (row["provider"], row["host"]) == ("azure_openai", "acme.openai.azure.com")
    assert (row["model"], row["model_requested"]) == ("gpt-4o-2024-08-06", "prod-chat")


@pytest.mark.parametrize(
    ("account", "told"),
    [
        ({}, None),
        ({"project": "proj_1"}, "proj_1"),
        ({"organization": "org-1"}, "org-1"),
        ({"project": "proj_1", "organization": "org-1"}, "proj_1"),
    ],
)
def test_ids_project_and_the_end_of_the_key_are_told_and_never_the_key(
    account: dict[str, str], told: str | None, recorder: CusRecordingReporter
) -> None:
    openai_client(COMPLETION, **account).chat.completions.create(**CHAT)
    row = recorder.row

    assert (row["response_id"], row["provider_request_id"]) == ("chatcmpl-1", REQUEST_ID)
    assert (row.get("provider_project"), row["provider_key_hint"]) == (told, KEY[-4:])
    assert KEY[:-4] not in str(row)


def test_a_short_key_gives_no_hint(recorder: CusRecordingReporter) -> None:
    openai_client(COMPLETION, api_key="sk-short").chat.completions.create(**CHAT)

    assert "provider_key_hint" not in recorder.row


@pytest.mark.parametrize(
    "tokens", [{"azure_ad_token": KEY}, {"azure_ad_token_provider": lambda: KEY}]
)
def test_a_client_with_a_token_in_place_of_a_key_gives_no_hint(
    tokens: dict[str, Any], recorder: CusRecordingReporter
) -> None:
    client = azure_client(COMPLETION, api_key=None, **tokens)
    client.chat.completions.create(model="prod-chat", messages=MESSAGES)

    assert "provider_key_hint" not in recorder.row
    assert KEY[-4:] not in str(recorder.row)


def test_a_client_that_asks_a_function_for_its_key_gives_no_hint(
    recorder: CusRecordingReporter,
) -> None:
    if not hasattr(openai.OpenAI, "_refresh_api_key"):
        pytest.skip("this release takes no function for a key")
    client = openai_client(COMPLETION, api_key=lambda: KEY)
    for _ in range(2):
        client.chat.completions.create(**CHAT)

    assert len(recorder.rows) == 2
    assert not any("provider_key_hint" in row for row in recorder.rows)


def test_the_placeholder_of_a_key_gives_no_hint() -> None:
    client = SimpleNamespace(api_key="workload-identity-auth", workload_identity={"provider": 1})

    assert called_by(client, "openai").origin.provider_key_hint is None


def test_at_bedrock_the_access_key_gives_the_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"aws_access_key": "AKIAABCDEFGHIJKLWXYZ", "aws_secret_key": "secret" * 7}
    client = platform_client(anthropic.AnthropicBedrock, SPOKEN, aws_region="us-east-1", **key)

    assert called_by(client, "anthropic").origin.provider_key_hint == "WXYZ"


def test_a_vertex_client_tells_its_project() -> None:
    options = {"region": "us-east5", "project_id": "acme-prod", "access_token": "token"}
    client = platform_client(anthropic.AnthropicVertex, SPOKEN, **options)

    assert called_by(client, "anthropic").origin.provider_project == "acme-prod"


def _in_workspace(reply: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def answer(request: Any) -> Any:
        response = reply(request)
        response.headers["anthropic-workspace-id"] = "wrkspc_1"
        return response

    return answer


def test_anthropics_answers_tell_their_workspace(recorder: CusRecordingReporter) -> None:
    if not hasattr(anthropic.APIResponse, "workspace_id"):
        pytest.skip("this release keeps no workspace")
    events = [{"type": "message_start", "message": REPLY}, {"type": "message_stop"}]
    anthropic_client(_in_workspace(SPOKEN)).messages.create(**MESSAGE)
    streaming = anthropic_client(_in_workspace(streamed(anthropic_http, events)))
    list(streaming.messages.create(**MESSAGE, stream=True))
    anthropic_client(_in_workspace(SPOKEN)).messages.with_raw_response.create(**MESSAGE)
    refused = whole(anthropic_http, {"error": {"message": "no"}}, status=429)
    with pytest.raises(anthropic.RateLimitError):
        anthropic_client(_in_workspace(refused)).messages.create(**MESSAGE)

    assert [row["provider_project"] for row in recorder.rows] == ["wrkspc_1"] * 4
    assert recorder.stats.faults == 0


def test_raw_responses_streams_and_errors_have_their_ids_too(
    recorder: CusRecordingReporter,
) -> None:
    openai_client(COMPLETION).chat.completions.with_raw_response.create(**CHAT)
    chunk = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "model": "gpt-4o", "created": 1}
    chunks = streamed(openai_http, [{**chunk, "choices": []}])
    list(openai_client(chunks).chat.completions.create(**CHAT, stream=True))
    refused = whole(openai_http, {"error": {"message": "no"}}, status=429)
    with pytest.raises(openai.RateLimitError):
        openai_client(refused).chat.completions.create(**CHAT)

    ids = [row.get("response_id") for row in recorder.rows]
    assert ids == ["chatcmpl-1", "chatcmpl-2", None]
    assert [row["provider_request_id"] for row in recorder.rows] == [REQUEST_ID] * 3


def test_asynchronous_calls_have_their_ids_too(recorder: CusRecordingReporter) -> None:
    chunk = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "model": "gpt-4o", "created": 1}
    event = f"data: {json.dumps({**chunk, 'choices': []})}\n\n".encode()
    refused = whole(openai_http, {"error": {"message": "no"}}, status=429)

    def streams(_request: Any) -> Any:
        async def body() -> AsyncIterator[bytes]:
            yield event

        headers = {"content-type": "text/event-stream", "x-request-id": REQUEST_ID}
        return openai_http.Response(200, content=body(), headers=headers)

    async def program() -> None:
        client = async_openai_client(COMPLETION)
        await client.chat.completions.create(**CHAT)
        await client.chat.completions.with_raw_response.create(**CHAT)
        stream = await async_openai_client(streams).chat.completions.create(**CHAT, stream=True)
        async for _ in stream:
            pass
        with pytest.raises(openai.RateLimitError):
            await async_openai_client(refused).chat.completions.create(**CHAT)

    asyncio.run(program())
    ids = [row.get("response_id") for row in recorder.rows]
    assert ids == ["chatcmpl-1", "chatcmpl-1", "chatcmpl-2", None]
    for row in recorder.rows:
        assert (row["provider_request_id"], row["provider_key_hint"]) == (REQUEST_ID, KEY[-4:])


def test_anthropics_ids_are_told(recorder: CusRecordingReporter) -> None:
    anthropic_client(SPOKEN).messages.create(**MESSAGE)
    row = recorder.row

    assert (row["provider"], row["host"]) == ("anthropic", "api.anthropic.com")
    assert (row["response_id"], row["provider_request_id"]) == ("msg_1", REQUEST_ID)
    assert row["provider_key_hint"] == KEY[-4:]


def test_an_adapter_and_a_block_know_where_their_call_went(
    recorder: CusRecordingReporter,
) -> None:
    client = openai_client(COMPLETION, "https://api.groq.com/openai/v1")
    CusOpenAIProvider(client=client, reporter=recorder).chat_completions_create(**CHAT)
    with cus_track("gpt-4o", provider="openai"):
        client.chat.completions.create(**CHAT)

    for row in recorder.rows:
        assert (row["provider"], row["host"]) == ("groq", "api.groq.com")
        assert (row["response_id"], row["model_requested"]) == ("chatcmpl-1", "gpt-4o")
    assert len(recorder.rows) == 2


def test_a_client_whose_address_or_key_is_set_anew_is_looked_at_again() -> None:
    client = openai_client(COMPLETION)
    assert called_by(client, "openai").provider == "openai"
    client.base_url = "https://api.groq.com/openai/v1"
    assert called_by(client, "openai").provider == "groq"
    client.api_key = "sk-proj-abcdefghijklmnopZZZZ"
    assert called_by(client, "openai").origin.provider_key_hint == "ZZZZ"


@pytest.fixture
def _forgetful() -> Iterator[None]:
    origins._noted.clear()
    yield
    origins._noted.clear()


@pytest.mark.usefixtures("_forgetful")
def test_a_client_is_looked_at_once_and_forgotten_when_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[Any] = []
    find_out: Callable[..., Any] = origins._find_out

    def counting(client: Any, package: str) -> Any:
        looked.append(package)
        return find_out(client, package)

    monkeypatch.setattr(origins, "_find_out", counting)
    client = openai_client(COMPLETION)
    assert called_by(client, "openai") is called_by(client, "openai")
    assert looked == ["openai"]
    assert len(origins._noted) == 1
    del client
    gc.collect()
    assert not origins._noted


@pytest.mark.parametrize("client", [None, object(), SimpleNamespace(base_url=5, api_key=7)])
def test_what_is_no_client_is_of_the_packages_own_provider(client: Any) -> None:
    called = called_by(client, "openai")

    assert (called.provider, called.origin.host) == ("openai", None)
