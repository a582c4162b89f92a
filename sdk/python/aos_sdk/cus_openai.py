"""The adapter for OpenAI: the native client, its own responses, and a record of every call."""

from typing import TYPE_CHECKING, Any

from aos_sdk.cus_base import provider_package
from aos_sdk.cus_openai_calls import ClientT, CusOpenAICalls
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_usage import extract_openai_usage

if TYPE_CHECKING:
    from openai import OpenAI


class CusOpenAIProvider(CusOpenAICalls[ClientT]):
    """OpenAI, governed, by its own client: `OpenAI`, `AsyncOpenAI`, `AzureOpenAI` or a subclass.

    Each method calls the client's method: same arguments, same response, same errors, and an
    awaitable if the client is asynchronous. `call_id`, `session_id`, `agent_id`, `end_user` and
    `tags` are ours, for the record.
    """

    def _create_client(self, api_key: str | None, **kwargs: Any) -> Any:
        return provider_package("openai").OpenAI(api_key=api_key, **kwargs)

    def _get_provider_name(self) -> str:
        return "openai"

    def _extract_usage(self, response: Any) -> tuple[int, int]:
        return extract_openai_usage(response)


def create_openai_provider(
    api_key: str | None = None,
    *,
    integration_key: str | None = None,
    reporter: CusReporter | None = None,
    **client_kwargs: Any,
) -> "CusOpenAIProvider[OpenAI]":
    """Make a CusOpenAIProvider; `client_kwargs` go to the native client."""
    return CusOpenAIProvider(
        api_key, integration_key=integration_key, reporter=reporter, **client_kwargs
    )
