"""The adapter for OpenAI: the native client, its own responses, and a record of every call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aos_sdk.cus_base import CusBaseProvider
from aos_sdk.cus_cost import calculate_cost
from aos_sdk.cus_errors import CusProviderError
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_usage import extract_openai_usage, extract_token_usage
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
        return extract_openai_usage(response)

    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        return calculate_cost(model, tokens_in, tokens_out)

    def _observe(self, tracker: CusCallTracker, response: Any) -> None:
        model = getattr(response, "model", None)
        if model and isinstance(model, str):
            tracker.set_model(model)
        usage = extract_token_usage(response, "openai")
        if usage.reported:
            tracker.set_usage(usage.tokens, usage.service_tier, usage.billed_units)


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
