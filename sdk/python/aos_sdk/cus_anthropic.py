"""The adapter for Anthropic: the native client, its own responses, and a record of every call."""

from typing import TYPE_CHECKING, Any

from aos_sdk.cus_anthropic_calls import ClientT, CusAnthropicCalls
from aos_sdk.cus_base import provider_package
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_usage import extract_anthropic_usage

if TYPE_CHECKING:
    from anthropic import Anthropic


class CusAnthropicProvider(CusAnthropicCalls[ClientT]):
    """Anthropic, governed, by its own client: `Anthropic`, `AsyncAnthropic`, or those for Bedrock
    and Vertex.

    Each method calls the client's method: same arguments, same response, same errors, and an
    awaitable if the client is asynchronous. `call_id`, `session_id`, `agent_id`, `end_user` and
    `tags` are ours, for the record.
    """

    def _create_client(self, api_key: str | None, **kwargs: Any) -> Any:
        return provider_package("anthropic").Anthropic(api_key=api_key, **kwargs)

    def _get_provider_name(self) -> str:
        return "anthropic"

    def _extract_usage(self, response: Any) -> tuple[int, int]:
        return extract_anthropic_usage(response)


def create_anthropic_provider(
    api_key: str | None = None,
    *,
    integration_key: str | None = None,
    reporter: CusReporter | None = None,
    **client_kwargs: Any,
) -> "CusAnthropicProvider[Anthropic]":
    """Make a CusAnthropicProvider; `client_kwargs` go to the native client."""
    return CusAnthropicProvider(
        api_key, integration_key=integration_key, reporter=reporter, **client_kwargs
    )
