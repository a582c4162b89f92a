"""The adapter for OpenAI: the native client, its own responses, and a record of every call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aos_sdk.cus_base import CusBaseProvider
from aos_sdk.cus_cost import CusTokenUsage, calculate_cost
from aos_sdk.cus_errors import CusProviderError
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusOperation

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletion


class CusOpenAIProvider(CusBaseProvider["OpenAI"]):
    """OpenAI chat completions, governed. `client` is the native client, for everything else."""

    operation = CusOperation.CHAT

    def chat_completions_create(
        self,
        *,
        call_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        **kwargs: Any,
    ) -> "ChatCompletion":
        """`client.chat.completions.create(**kwargs)`: same arguments, same response, same errors.

        `call_id`, `session_id` and `agent_id` are ours, for the record alone. Raises
        CusProviderError, before anything is sent, for `stream=True`.
        """
        if kwargs.get("stream"):
            message = "streaming is not supported here yet; call without stream=True"
            raise CusProviderError(message)
        create: Callable[..., ChatCompletion] = self._client.chat.completions.create
        context = self._new_context(kwargs.get("model"), call_id, session_id, agent_id)
        return self._execute_with_telemetry(context, lambda: create(**kwargs))

    def _create_client(self, api_key: str | None, **kwargs: Any) -> "OpenAI":
        try:
            from openai import OpenAI
        except ModuleNotFoundError as error:
            message = "the openai package is missing: install aos-customer-integrations-sdk[openai]"
            raise CusProviderError(message) from error
        return OpenAI(api_key=api_key, **kwargs)

    def _get_provider_name(self) -> str:
        return "openai"

    def _extract_usage(self, response: Any) -> tuple[int, int]:
        usage = extract_openai_token_usage(response)
        return usage.tokens_in, usage.tokens_out

    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        return calculate_cost(model, tokens_in, tokens_out)

    def _observe(self, tracker: CusCallTracker, response: Any) -> None:
        model = getattr(response, "model", None)
        if model and isinstance(model, str):
            tracker.set_model(model)
        if getattr(response, "usage", None) is None:
            return
        tier = getattr(response, "service_tier", None)
        usage = extract_openai_token_usage(response)
        tracker.set_usage(usage, tier if isinstance(tier, str) else None)


def extract_openai_token_usage(response: Any) -> CusTokenUsage:
    """All kinds of tokens that a chat completion reports; zeros where it reports none."""
    usage = getattr(response, "usage", None)
    if usage is None:
        return CusTokenUsage()
    tokens_in, tokens_out = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    total = _count(usage, "total_tokens") or None
    sent = getattr(usage, "prompt_tokens_details", None)
    made = getattr(usage, "completion_tokens_details", None)
    if sent is None and made is None:
        return CusTokenUsage(tokens_in, tokens_out, tokens_total=total)
    return CusTokenUsage(
        tokens_in,
        tokens_out,
        tokens_cached=_count(sent, "cached_tokens"),
        tokens_cache_write=_count(sent, "cache_write_tokens"),
        tokens_reasoning=_count(made, "reasoning_tokens"),
        tokens_audio_in=_count(sent, "audio_tokens"),
        tokens_audio_out=_count(made, "audio_tokens"),
        tokens_image_in=_count(sent, "image_tokens"),
        tokens_total=total,
    )


def _count(part: object, name: str) -> int:
    """A count of tokens, or 0: providers leave details out, null, and once in a while negative."""
    value = getattr(part, name, 0)
    return value if type(value) is int and value > 0 else 0


def create_openai_provider(
    api_key: str | None = None,
    *,
    integration_key: str | None = None,
    reporter: CusReporter | None = None,
    **client_kwargs: Any,
) -> CusOpenAIProvider:
    """A CusOpenAIProvider of these; `client_kwargs` go to the native client."""
    return CusOpenAIProvider(
        api_key, integration_key=integration_key, reporter=reporter, **client_kwargs
    )
