"""The same ten calls at many providers, through SDK and product: who answered, where, for how much."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import openai
import pytest

from aos_sdk import CusReporter, cus_context, cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_configuration import CusConfiguration, active
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_evidence.models import CusLLMUsage
from tests.corpus.cus_oracle import microcents
from tests.e2e.cus_protocols import TEN_CALLS, CusProviders, Protocol
from tests.e2e.cus_served import ServedProduct
from tests.sdk.cus_provider_http import anthropic_http, openai_http
from tests.sdk.cus_scripted_clients import KEY

pytestmark = pytest.mark.django_db(transaction=True)

MakeClient = Callable[[Any], Any]


@dataclass(frozen=True)
class Place:
    """A provider's place, and what its rows say.

    `prices` are of a plain token in, a cached one and one out, in microcents ($1 a million tokens
    is 100), as the provider's price page has them.
    """

    name: str
    client: MakeClient
    asked: str
    protocol: Protocol
    provider: str
    region: str | None
    prices: tuple[str, str, str]

    def bill(self, number: int) -> int:
        """What the provider bills for a call, in microcents."""
        tokens_in, cached, tokens_out = TEN_CALLS[number]
        plain, cheap, out = self.prices
        sums = (f"{tokens_in - cached} x {plain}", f"{cached} x {cheap}", f"{tokens_out} x {out}")
        return microcents(" + ".join(sums))


def _openai(base_url: str) -> MakeClient:
    return lambda http: openai.OpenAI(api_key=KEY, base_url=base_url, http_client=http)


def _azure(http: Any) -> Any:
    endpoint = "https://acme.openai.azure.com"
    return openai.AzureOpenAI(
        api_key=KEY, azure_endpoint=endpoint, api_version="2024-10-21", http_client=http
    )


def _bedrock(http: Any) -> Any:
    kind: Any = anthropic.AnthropicBedrock
    return kind(api_key=KEY, aws_region="us-east-1", http_client=http)


def _vertex(http: Any) -> Any:
    return anthropic.AnthropicVertex(
        region="europe-west4", project_id="acme", access_token=KEY, http_client=http
    )


_COMPLETIONS: Final = r"/v1/chat/completions"
_SONNET: Final = "claude-sonnet-4-5-20250929"

# Prices as of 2026-11-28: OpenAI's pricing page (gpt-4o, gpt-5.5; Azure's and OpenRouter's are the
# same), Bedrock's and Vertex's (regional Claude Sonnet 4.5 is 10 % dearer than global), DeepSeek's
# by genai-prices, Groq's list of models.
PLACES: Final = [
    Place("openai", _openai("https://api.openai.com/v1"), "gpt-4o",
          Protocol("api.openai.com", "gpt-4o-2024-08-06", _COMPLETIONS),
          "openai", None, ("250", "125", "1000")),
    Place("azure", _azure, "prod-chat",
          Protocol("acme.openai.azure.com", "gpt-5.5-2026-04-23",
                   r"/openai/deployments/prod-chat/chat/completions\?api-version=.*", "azure"),
          "azure_openai", None, ("500", "50", "3000")),
    Place("bedrock", _bedrock, f"us.anthropic.{_SONNET}-v1:0",
          Protocol("bedrock-runtime.us-east-1.amazonaws.com", _SONNET,
                   r"/model/[^/]+/invoke(-with-response-stream)?", "bedrock"),
          "bedrock", "us", ("330", "33", "1650")),
    Place("vertex", _vertex, "claude-sonnet-4-5@20250929",
          Protocol("europe-west4-aiplatform.googleapis.com", _SONNET,
                   r"/v1/projects/acme/locations/europe-west4/publishers/anthropic/models/"
                   r"claude-sonnet-4-5@20250929:(streamR|r)awPredict", "anthropic"),
          "vertex", "europe-west4", ("330", "33", "1650")),
    Place("deepseek", _openai("https://api.deepseek.com"), "deepseek-v3.1-terminus",
          Protocol("api.deepseek.com", "deepseek-v3.1-terminus", r"/chat/completions", "deepseek"),
          "deepseek", None, ("27", "13", "95")),
    Place("groq", _openai("https://api.groq.com/openai/v1"), "openai/gpt-oss-120b",
          Protocol("api.groq.com", "openai/gpt-oss-120b", rf"/openai{_COMPLETIONS}", "groq"),
          "groq", None, ("15", "7.5", "60")),
    Place("openrouter", _openai("https://openrouter.ai/api/v1"), "openai/gpt-4o",
          Protocol("openrouter.ai", "openai/gpt-4o", rf"/api{_COMPLETIONS}", "openrouter"),
          "openrouter", None, ("250", "125", "1000")),
]  # fmt: skip


@pytest.fixture
def reporter(integration: CusIntegration, product: ServedProduct) -> Iterator[CusReporter]:
    """The reporter of a program whose clients are watched."""
    _, key = issue_sdk_key(integration)
    reporter = CusReporter(key, product.base_url)
    active.replace(CusConfiguration(reporter))
    cus_install_middleware(detect_bypass=False)
    yield reporter
    cus_uninstall_middleware()
    active.replace(None)
    reporter.shutdown(1)


def test_ten_calls_have_provider_model_region_tokens_and_cost_of_where_they_went(
    reporter: CusReporter,
) -> None:
    with CusProviders(place.protocol for place in PLACES) as providers:
        for place in PLACES:
            _make_calls(place, providers)
    assert reporter.shutdown(20) == 0

    rows = {(row.session_id, row.agent_id): row for row in CusLLMUsage.objects.all()}
    assert len(rows) == CusLLMUsage.objects.count() == len(PLACES) * len(TEN_CALLS) * 2
    faults = []
    for place in PLACES:
        for number in range(len(TEN_CALLS)):
            for way in ("whole", "streamed"):
                told = _told(rows[place.name, f"{way} {number}"])
                if told != (due := _due(place, number)):
                    faults.append(f"{place.name}, {way} call {number}: {told} is not {due}")
    assert not faults, "\n".join(faults)


def _make_calls(place: Place, providers: CusProviders) -> None:
    """Make the ten calls at a place, whole and streamed."""
    is_anthropic = place.protocol.words in ("anthropic", "bedrock")
    package, http = (anthropic, anthropic_http) if is_anthropic else (openai, openai_http)
    http_client = package.DefaultHttpxClient(transport=providers.transport(http))
    with place.client(http_client) as client:
        create = client.messages.create if is_anthropic else client.chat.completions.create
        streaming = {} if is_anthropic else {"stream_options": {"include_usage": True}}
        for number in range(len(TEN_CALLS)):
            asks: dict[str, Any] = {
                "model": place.asked,
                "messages": [{"role": "user", "content": f"call {number}"}],
                "max_tokens": 900,
            }
            with cus_context(session_id=place.name, agent_id=f"whole {number}"):
                create(**asks)
            with cus_context(session_id=place.name, agent_id=f"streamed {number}"):
                list(create(**asks, stream=True, **streaming))


def _told(row: CusLLMUsage) -> tuple[Any, ...]:
    where = (row.provider, row.host, row.region, row.model)
    tokens = (row.tokens_in, row.tokens_cached, row.tokens_out)
    return (*where, *tokens, row.cost_microcents)


def _due(place: Place, number: int) -> tuple[Any, ...]:
    where = (place.provider, place.protocol.host, place.region, place.protocol.model)
    return (*where, *TEN_CALLS[number], place.bill(number))
