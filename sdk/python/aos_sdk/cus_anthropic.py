"""The adapter for Anthropic: the native client, its own responses, and a record of every call."""

from typing import TYPE_CHECKING, Any, Final

from aos_sdk import cus_surfaces as surfaces
from aos_sdk.cus_base import CusBaseProvider, text_of
from aos_sdk.cus_cost import calculate_cost
from aos_sdk.cus_errors import CusProviderError
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_usage import extract_anthropic_usage

if TYPE_CHECKING:
    from anthropic import Anthropic

# Anthropic wants to be told; where the caller does not say, this is what an answer may take.
DEFAULT_MAX_TOKENS: Final = 1_024


class CusAnthropicProvider(CusBaseProvider[Any]):
    """Anthropic, governed, by its own client: `Anthropic`, `AsyncAnthropic`, or those for Bedrock
    and Vertex.

    Each method is one of the client's: same arguments, same response, same errors, and an awaitable
    where the client is asynchronous. `call_id`, `session_id` and `agent_id` are ours, for the record.
    """

    def messages_create(self, **kwargs: Any) -> Any:
        """`client.messages.create(**kwargs)`."""
        return self._govern(surfaces.MESSAGES, self._client.messages.create, kwargs)

    def chat(self, messages: Any, model: str, **kwargs: Any) -> Any:
        """A message that answers these; at most 1,024 tokens unless `max_tokens` says otherwise."""
        kwargs.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
        return self.messages_create(messages=messages, model=model, **kwargs)

    def complete(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """A message that answers one prompt."""
        return self.chat([{"role": "user", "content": prompt}], model, **kwargs)

    def ask(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """The text that answers a prompt; an awaitable of it where the client is asynchronous."""
        return text_of(self.complete(prompt, model, **kwargs), _text)

    def _create_client(self, api_key: str | None, **kwargs: Any) -> "Anthropic":
        try:
            from anthropic import Anthropic
        except ModuleNotFoundError as error:
            message = (
                "the anthropic package is missing: install aos-customer-integrations-sdk[anthropic]"
            )
            raise CusProviderError(message) from error
        return Anthropic(api_key=api_key, **kwargs)

    def _get_provider_name(self) -> str:
        return "anthropic"

    def _extract_usage(self, response: Any) -> tuple[int, int]:
        return extract_anthropic_usage(response)

    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        return calculate_cost(model, tokens_in, tokens_out)


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def create_anthropic_provider(
    api_key: str | None = None,
    *,
    integration_key: str | None = None,
    reporter: CusReporter | None = None,
    **client_kwargs: Any,
) -> CusAnthropicProvider:
    """A CusAnthropicProvider of these; `client_kwargs` go to the native client."""
    return CusAnthropicProvider(
        api_key, integration_key=integration_key, reporter=reporter, **client_kwargs
    )
