"""The OpenAI adapter, with the real client against a local server."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from aos_sdk import (
    CusCallContext,
    CusOpenAIProvider,
    CusProviderConfig,
    CusReporter,
    CusUnknownModel,
    create_openai_provider,
)
from aos_sdk.cus_base import CusBaseProvider
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import (
    Answer,
    CusFakeCollector,
    CusFakeServer,
    cus_chat_completion,
    cus_error,
)

MESSAGES: Any = [{"role": "user", "content": "a very private prompt"}]


class FakeOpenAI(CusFakeServer):
    """Speaks chat.completions; `status` and `completion` are what it answers."""

    def __init__(self) -> None:
        super().__init__(self._complete)
        self.status = 200
        self.completion = cus_chat_completion()

    def _complete(self, path: str, body: dict[str, Any]) -> Answer:
        if self.status != 200:
            return self.status, {"error": {"message": "no: sk-proj-abcdef123456"}}, {}
        return self.status, self.completion, {}


@pytest.fixture
def openai_server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as running:
        yield running


@pytest.fixture
def client(openai_server: FakeOpenAI) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="sk-test", base_url=f"{openai_server.url}/v1", max_retries=0
    ) as made:
        yield made


@pytest.fixture
def reporter(make_reporter: MakeReporter) -> CusReporter:
    return make_reporter()


def _only_row(reporter: CusReporter, collector: CusFakeCollector) -> dict[str, Any]:
    assert reporter.flush(5.0) == 0
    (row,) = collector.stored.values()
    return row


def test_a_call_returns_the_providers_own_object_and_is_reported(
    client: openai.OpenAI, reporter: CusReporter, collector: CusFakeCollector
) -> None:
    provider = CusOpenAIProvider(client=client, reporter=reporter)
    response = provider.chat_completions_create(
        model="gpt-4o", messages=MESSAGES, call_id="c", session_id="s", agent_id="a"
    )
    assert type(response) is ChatCompletion
    assert response.choices[0].message.content == "Hello."
    row = _only_row(reporter, collector)
    assert row["model"] == "gpt-4o-2024-08-06"
    assert (row["tokens_in"], row["tokens_out"], row["tokens_total"]) == (1_000, 500, 1_500)
    assert (row["cost_cents"], row["pricing_version"]) == (1, "2026-11-28")
    assert (row["operation"], row["host"], row["service_tier"]) == ("chat", "127.0.0.1", "default")
    assert (row["model_requested"], row["response_id"]) == ("gpt-4o", "chatcmpl-1")
    assert (row["call_id"], row["session_id"], row["agent_id"]) == ("c", "s", "a")
    assert "error_code" not in row


def test_the_response_is_the_very_object_that_the_client_made(
    client: openai.OpenAI, reporter: CusReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ChatCompletion.model_validate(cus_chat_completion())
    before = made.model_dump()
    monkeypatch.setattr(client.chat.completions, "create", lambda **kwargs: made)
    provider = CusOpenAIProvider(client=client, reporter=reporter)
    assert provider.chat_completions_create(model="gpt-4o", messages=MESSAGES) is made
    assert made.model_dump() == before
    assert provider.client is client


def test_every_keyword_reaches_the_provider_and_ours_stay_here(
    client: openai.OpenAI, reporter: CusReporter, openai_server: FakeOpenAI
) -> None:
    provider = CusOpenAIProvider(client=client, reporter=reporter)
    provider.chat_completions_create(
        model="gpt-4o", messages=MESSAGES, temperature=0, extra_body={"odd": 1}, agent_id="a"
    )
    _, _, body = openai_server.requests[0]
    assert body == {"model": "gpt-4o", "messages": MESSAGES, "temperature": 0, "odd": 1}


def test_no_prompt_and_no_completion_is_sent(
    client: openai.OpenAI, reporter: CusReporter, collector: CusFakeCollector
) -> None:
    CusOpenAIProvider(client=client, reporter=reporter).chat_completions_create(
        model="gpt-4o", messages=MESSAGES
    )
    row = str(_only_row(reporter, collector))
    assert "private" not in row
    assert "Hello" not in row


def test_every_kind_of_token_is_read(
    client: openai.OpenAI,
    reporter: CusReporter,
    collector: CusFakeCollector,
    openai_server: FakeOpenAI,
) -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 5},
    }
    openai_server.completion = cus_chat_completion(usage=usage)
    CusOpenAIProvider(client=client, reporter=reporter).chat_completions_create(
        model="gpt-4o", messages=MESSAGES
    )
    row = _only_row(reporter, collector)
    kinds = {name: count for name, count in row.items() if name.startswith("tokens_")}
    assert kinds == {
        "tokens_in": 100,
        "tokens_out": 50,
        "tokens_total": 150,
        "tokens_cached": 64,
        "tokens_audio_in": 6,
        "tokens_reasoning": 20,
        "tokens_audio_out": 5,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": None},
        {"usage": {}},
        {"usage": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}},
    ],
)
def test_a_response_without_usage_counts_no_tokens_and_no_error(
    client: openai.OpenAI,
    reporter: CusReporter,
    collector: CusFakeCollector,
    openai_server: FakeOpenAI,
    changes: dict[str, Any],
) -> None:
    openai_server.completion = cus_chat_completion(**changes)
    CusOpenAIProvider(client=client, reporter=reporter).chat_completions_create(
        model="gpt-4o", messages=MESSAGES
    )
    row = _only_row(reporter, collector)
    assert (row["tokens_in"], row["tokens_out"]) == (0, 0)
    assert "error_code" not in row
    assert "metadata" not in row
    assert reporter.stats.faults == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, openai.AuthenticationError), (500, openai.InternalServerError)],
)
def test_a_providers_error_passes_through_and_is_reported(
    client: openai.OpenAI,
    reporter: CusReporter,
    collector: CusFakeCollector,
    openai_server: FakeOpenAI,
    status: int,
    error: type[openai.APIStatusError],
) -> None:
    openai_server.status = status
    provider = CusOpenAIProvider(client=client, reporter=reporter)
    with pytest.raises(error) as caught:
        provider.chat_completions_create(model="gpt-4o", messages=MESSAGES)
    assert caught.value.status_code == status
    assert "sk-proj-abcdef123456" in str(caught.value)
    row = _only_row(reporter, collector)
    assert (row["model"], row["error_code"]) == ("gpt-4o", error.__name__)
    assert "[masked]" in row["error_message"]
    assert "abcdef123456" not in row["error_message"]


def test_a_broken_extraction_is_counted_and_the_response_returned(
    client: openai.OpenAI, reporter: CusReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("aos_sdk.cus_measured_call.extract_token_usage", explode)
    provider = CusOpenAIProvider(client=client, reporter=reporter)
    assert provider.chat_completions_create(model="gpt-4o", messages=MESSAGES).id == "chatcmpl-1"
    assert reporter.stats.faults == 1


def test_without_auto_report_calls_run_and_nothing_is_reported(
    client: openai.OpenAI, reporter: CusReporter
) -> None:
    config = CusProviderConfig(integration_key=KEY, auto_report=False)
    provider = CusOpenAIProvider(client=client, reporter=reporter, config=config)
    assert provider.chat_completions_create(model="gpt-4o", messages=MESSAGES).id == "chatcmpl-1"
    assert reporter.stats.queued == 0


def test_the_factory_makes_the_native_client_and_hides_the_keys(
    collector: CusFakeCollector,
) -> None:
    provider = create_openai_provider(
        "sk-test-secret", integration_key=KEY, base_url="http://127.0.0.1:9/v1", max_retries=7
    )
    with provider.client as native:
        assert isinstance(native, openai.OpenAI)
        assert (native.api_key, native.max_retries) == ("sk-test-secret", 7)
    assert provider.reporter.integration_id == "integration-1"
    assert "secret" not in repr(provider)
    assert "secret" not in repr(CusProviderConfig(integration_key=KEY))


def test_a_provider_of_ones_own_needs_the_four_methods_alone(
    reporter: CusReporter, collector: CusFakeCollector
) -> None:
    class EchoProvider(CusBaseProvider[dict[str, str]]):
        def _create_client(self, api_key: str | None, **kwargs: Any) -> dict[str, str]:
            return {"key": api_key or ""}

        def _get_provider_name(self) -> str:
            return "echo"

        def _extract_usage(self, response: Any) -> tuple[int, int]:
            return len(response), 1

        def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
            if model == "nobody-knows":
                raise CusUnknownModel(model)
            return 42

        def echo(self, context: CusCallContext, text: str) -> str:
            return self._execute_with_telemetry(context, lambda: text)

    provider = EchoProvider("k", reporter=reporter)
    assert provider.client == {"key": "k"}
    assert provider.echo(CusCallContext("priced", "echo-1", 0.0), "four") == "four"
    assert provider.echo(CusCallContext("unpriced", "nobody-knows", 0.0), "four") == "four"
    assert reporter.flush(5.0) == 0
    priced = collector.stored["priced"]
    assert (priced["tokens_in"], priced["cost_cents"], priced["provider"]) == (4, 42, "echo")
    assert "cost_cents" not in collector.stored["unpriced"]
    assert reporter.stats.faults == 0


def test_the_fakes_error_has_the_contracts_shape() -> None:
    assert cus_error("x")["errors"][0].keys() == {"code", "detail", "attr"}
