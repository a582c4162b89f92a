"""What the estimate bases `clamp` and `learned` do to calls (ruling F3b)."""

import asyncio
from typing import Any

import anthropic
import openai
import pytest

from aos_sdk import CusBlocked, cus_install_middleware
from aos_sdk.cus_enforcing.clamping import clamped_output, maximum_name
from aos_sdk.cus_enforcing.decisions import EnforcementDecision
from aos_sdk.cus_enforcing.estimates import CusEstimate
from aos_sdk.cus_wire import CusOperation
from tests.sdk.cus_capture_cases import CHAT, MESSAGE
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeGovernor, cus_refusal
from tests.sdk.cus_governed_programs import Configure, known_by, patched, records_of

# A budget of 5 cents of which 1 is left.
_LITTLE_ROOM = {"code": "estimate_exceeds_room", "limit_value": 5, "current_value": 4}


class _RoomOf(CusFakeGovernor):
    """Admits a call that costs a cent at most."""

    def _receive(self, path: str, body: dict[str, Any]) -> Any:
        if path.endswith("/check"):
            fits = body.get("estimated_cost_microcents", 10**9) <= 1_000_000
            self.room = 10**6 if fits else 0
        return super()._receive(path, body)


@pytest.fixture
def governor() -> Any:
    with _RoomOf() as running:
        running.configuration["estimate_basis"] = "clamp"
        running.refusal = cus_refusal(**_LITTLE_ROOM)
        yield running


def _sent(provider: CusFakeProvider) -> dict[str, Any]:
    body: dict[str, Any] = provider.requests[-1][1]
    return body


def test_a_call_asks_for_as_much_output_as_the_room_pays_for(
    configure: Configure,
    governor: CusFakeGovernor,
    client: openai.OpenAI,
    provider: CusFakeProvider,
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    patched(client)
    output = _sent(provider)["max_tokens"]
    # A cent pays for 1,000 tokens of gpt-4o's output, less what the prompt may cost.
    assert 900 < output < 1_000
    (record,) = records_of(governor, reporter)
    assert record["metadata"]["output_clamped_to"] == output
    assert governor.checks[-1]["estimated_cost_microcents"] <= 1_000_000


def test_an_asynchronous_call_is_clamped_too(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    known_by(configure()).refresh()
    cus_install_middleware()

    async def ask() -> None:
        async with openai.AsyncOpenAI(
            api_key="k", base_url=f"{provider.url}/v1", max_retries=0
        ) as client:
            await client.chat.completions.create(**CHAT)

    asyncio.run(ask())
    assert 900 < _sent(provider)["max_tokens"] < 1_000


def test_the_maximum_that_a_call_names_is_lowered_and_never_raised(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    reporter = configure()
    known_by(reporter).refresh()
    cus_install_middleware()
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        client.messages.create(**{**MESSAGE, "max_tokens": 50_000})
        assert _sent(provider)["max_tokens"] < 50_000
        client.messages.create(**{**MESSAGE, "max_tokens": 20})
        assert _sent(provider)["max_tokens"] == 20


def test_a_call_whose_thinking_would_not_fit_is_refused(
    configure: Configure, governor: CusFakeGovernor, provider: CusFakeProvider
) -> None:
    known_by(configure()).refresh()
    cus_install_middleware()
    thinking = {"type": "enabled", "budget_tokens": 40_000}
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        with pytest.raises(CusBlocked):
            client.messages.create(**{**MESSAGE, "max_tokens": 50_000, "thinking": thinking})


@pytest.mark.parametrize("basis", ["bound", "learned", "a newer one"])
def test_no_other_basis_changes_a_request(
    basis: str, configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    governor.configuration["estimate_basis"] = basis
    known_by(configure()).refresh()
    with pytest.raises(CusBlocked):
        patched(client)


def test_a_call_is_held_for_what_its_model_was_learned_to_write(
    configure: Configure, governor: CusFakeGovernor, client: openai.OpenAI
) -> None:
    learned = [{"model": "gpt-4o", "operation": "chat", "output_tokens": 70, "calls": 1_000}]
    governor.configuration |= {"estimate_basis": "learned", "learned_outputs": learned}
    reporter = configure()
    known_by(reporter).refresh()
    patched(client)
    learned_tokens = governor.checks[-1]["estimated_tokens"]
    governor.configuration |= {"estimate_basis": "bound", "config_version": 2}
    known_by(reporter).refresh()
    with pytest.raises(CusBlocked):
        patched(client)
    assert learned_tokens < 200 < governor.checks[-1]["estimated_tokens"]


# --- How much -----------------------------------------------------------------------------------


def _bound(output: int) -> CusEstimate:
    """A prompt of 100 tokens at 1 microcent, and output at 2,500 microcents a token."""
    return CusEstimate(100, output, 100 + output * 2_500, names_maximum=True)


@pytest.mark.parametrize(
    ("reason", "output"),
    [
        ({"limit_type": "budget", "limit_value": 5, "current_value": 4}, 399),
        ({"limit_type": "budget", "limit_value": 5, "current_value": 3, "held_value": 1}, 399),
        ({"limit_type": "tokens", "limit_value": 500, "current_value": 300}, 100),
        ({"limit_type": "tokens", "limit_value": 400, "current_value": 300}, None),
        ({"limit_type": "rate", "limit_value": 5, "current_value": 5}, None),
    ],
)
def test_the_output_is_the_most_that_fits(reason: dict[str, Any], output: int | None) -> None:
    answer = {"result": "blocked", "reasons": [{"code": "estimate_exceeds_room", **reason}]}
    assert clamped_output(EnforcementDecision.read(answer, "c"), _bound) == output


@pytest.mark.parametrize(
    ("operation", "provider", "arguments", "name"),
    [
        (CusOperation.CHAT, "openai", {}, "max_completion_tokens"),
        (CusOperation.CHAT, "openai", {"max_tokens": 9}, "max_tokens"),
        (CusOperation.CHAT, "groq", {}, "max_tokens"),
        (CusOperation.RESPONSES, "openai", {}, "max_output_tokens"),
        (CusOperation.COMPLETION, "openai", {}, "max_tokens"),
        (CusOperation.EMBEDDING, "openai", {}, None),
    ],
)
def test_the_argument_is_the_one_that_the_request_understands(
    operation: CusOperation, provider: str, arguments: dict[str, int], name: str | None
) -> None:
    assert maximum_name(operation, provider, arguments) == name
