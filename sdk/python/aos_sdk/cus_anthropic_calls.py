"""Anthropic's calls with the types of `anthropic`, so that programs type-check as without us.

See `cus_openai_calls`, which does the same for OpenAI.
"""

from typing import TYPE_CHECKING, Any, Final, Literal, Unpack, overload

from aos_sdk.cus_base import CusCallOptions, CusPackageProvider, Later, text_of
from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_providers.anthropic import MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anthropic import Anthropic, AsyncStream, Stream, Timeout

    # The bases of all synchronous and of all asynchronous clients, including Bedrock and Vertex.
    from anthropic._base_client import AsyncAPIClient, SyncAPIClient
    from anthropic.types import Message, MessageParam, RawMessageStreamEvent
    from anthropic.types import message_create_params as params
    from typing_extensions import TypeVar

    ClientT = TypeVar(
        "ClientT", bound=SyncAPIClient | AsyncAPIClient, covariant=True, default=Anthropic
    )
    Messages = Iterable[MessageParam]

    class Options(CusCallOptions, total=False):
        timeout: float | Timeout | None

    class MessageWhole(params.MessageCreateParamsNonStreaming, Options): ...

    class MessageStream(params.MessageCreateParamsStreaming, Options): ...

    class MessageEither(params.MessageCreateParamsBase, Options): ...
else:
    from typing import TypeVar

    ClientT = TypeVar("ClientT")

# Anthropic demands `max_tokens`; this is the value if the caller gives none.
DEFAULT_MAX_TOKENS: Final = 1_024


class CusAnthropicCalls(CusPackageProvider[ClientT]):
    """The calls of `CusAnthropicProvider`, with a synchronous and with an asynchronous client."""

    @overload
    def messages_create(
        self: "CusAnthropicCalls[SyncAPIClient]", **kwargs: "Unpack[MessageWhole]"
    ) -> "Message": ...
    @overload
    def messages_create(
        self: "CusAnthropicCalls[SyncAPIClient]", **kwargs: "Unpack[MessageStream]"
    ) -> "Stream[RawMessageStreamEvent]": ...
    @overload
    def messages_create(
        self: "CusAnthropicCalls[SyncAPIClient]", *, stream: bool, **kwargs: "Unpack[MessageEither]"
    ) -> "Message | Stream[RawMessageStreamEvent]": ...
    @overload
    def messages_create(
        self: "CusAnthropicCalls[AsyncAPIClient]", **kwargs: "Unpack[MessageWhole]"
    ) -> "Later[Message]": ...
    @overload
    def messages_create(
        self: "CusAnthropicCalls[AsyncAPIClient]", **kwargs: "Unpack[MessageStream]"
    ) -> "Later[AsyncStream[RawMessageStreamEvent]]": ...
    @overload
    def messages_create(
        self: "CusAnthropicCalls[AsyncAPIClient]",
        *,
        stream: bool,
        **kwargs: "Unpack[MessageEither]",
    ) -> "Later[Message | AsyncStream[RawMessageStreamEvent]]": ...
    @passed_over_by_warnings
    def messages_create(self, **kwargs: Any) -> Any:
        """`client.messages.create(**kwargs)`."""
        client: Any = self._client
        return self._govern(MESSAGES, client.messages.create, kwargs)

    @overload
    def chat(
        self: "CusAnthropicCalls[SyncAPIClient]",
        messages: "Messages",
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Stream[RawMessageStreamEvent]": ...
    @overload
    def chat(
        self: "CusAnthropicCalls[SyncAPIClient]", messages: "Messages", model: str, **kwargs: Any
    ) -> "Message": ...
    @overload
    def chat(
        self: "CusAnthropicCalls[AsyncAPIClient]",
        messages: "Messages",
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Later[AsyncStream[RawMessageStreamEvent]]": ...
    @overload
    def chat(
        self: "CusAnthropicCalls[AsyncAPIClient]", messages: "Messages", model: str, **kwargs: Any
    ) -> "Later[Message]": ...
    def chat(self, messages: Any, model: str, **kwargs: Any) -> Any:
        """A message that answers `messages`; without `max_tokens`, at most 1,024 tokens."""
        kwargs.setdefault("max_tokens", DEFAULT_MAX_TOKENS)
        adapter: Any = self
        return adapter.messages_create(messages=messages, model=model, **kwargs)

    @overload
    def complete(
        self: "CusAnthropicCalls[SyncAPIClient]",
        prompt: str,
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Stream[RawMessageStreamEvent]": ...
    @overload
    def complete(
        self: "CusAnthropicCalls[SyncAPIClient]", prompt: str, model: str, **kwargs: Any
    ) -> "Message": ...
    @overload
    def complete(
        self: "CusAnthropicCalls[AsyncAPIClient]",
        prompt: str,
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Later[AsyncStream[RawMessageStreamEvent]]": ...
    @overload
    def complete(
        self: "CusAnthropicCalls[AsyncAPIClient]", prompt: str, model: str, **kwargs: Any
    ) -> "Later[Message]": ...
    def complete(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """A message that answers one prompt."""
        adapter: Any = self
        return adapter.chat([{"role": "user", "content": prompt}], model, **kwargs)

    @overload
    def ask(
        self: "CusAnthropicCalls[SyncAPIClient]", prompt: str, model: str, **kwargs: Any
    ) -> str: ...
    @overload
    def ask(
        self: "CusAnthropicCalls[AsyncAPIClient]", prompt: str, model: str, **kwargs: Any
    ) -> "Later[str]": ...
    def ask(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """The text that answers a prompt; an awaitable of it if the client is asynchronous."""
        adapter: Any = self
        return text_of(adapter.complete(prompt, model, **kwargs), _text)


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")
