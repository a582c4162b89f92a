"""The adapter for OpenAI: the native client, its own responses, and a record of every call."""

from typing import TYPE_CHECKING, Any

from aos_sdk import cus_surfaces as surfaces
from aos_sdk.cus_base import CusBaseProvider, text_of
from aos_sdk.cus_cost import calculate_cost
from aos_sdk.cus_errors import CusProviderError
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_usage import extract_openai_usage

if TYPE_CHECKING:
    from openai import OpenAI


class CusOpenAIProvider(CusBaseProvider[Any]):
    """OpenAI, governed, by its own client: `OpenAI`, `AsyncOpenAI`, `AzureOpenAI` or a subclass.

    Each method is one of the client's: same arguments, same response, same errors, and an awaitable
    where the client is asynchronous. `call_id`, `session_id` and `agent_id` are ours, for the record.
    """

    def chat_completions_create(self, **kwargs: Any) -> Any:
        """`client.chat.completions.create(**kwargs)`."""
        return self._govern(surfaces.CHAT, self._client.chat.completions.create, kwargs)

    def completions_create(self, **kwargs: Any) -> Any:
        """`client.completions.create(**kwargs)`."""
        return self._govern(surfaces.COMPLETION, self._client.completions.create, kwargs)

    def embeddings_create(self, **kwargs: Any) -> Any:
        """`client.embeddings.create(**kwargs)`."""
        return self._govern(surfaces.EMBEDDING, self._client.embeddings.create, kwargs)

    def responses_create(self, **kwargs: Any) -> Any:
        """`client.responses.create(**kwargs)`."""
        return self._govern(surfaces.RESPONSES, self._client.responses.create, kwargs)

    def chat(self, messages: Any, model: str, **kwargs: Any) -> Any:
        """A chat completion of these messages."""
        return self.chat_completions_create(messages=messages, model=model, **kwargs)

    def complete(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """A chat completion of one prompt."""
        return self.chat([{"role": "user", "content": prompt}], model, **kwargs)

    def ask(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """The text that answers a prompt; an awaitable of it where the client is asynchronous."""
        return text_of(self.complete(prompt, model, **kwargs), _text)

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
        return extract_openai_usage(response)

    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        return calculate_cost(model, tokens_in, tokens_out)


def _text(completion: Any) -> str:
    return completion.choices[0].message.content or ""


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
