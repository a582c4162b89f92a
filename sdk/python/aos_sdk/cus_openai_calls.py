"""OpenAI's calls with the types of `openai`, so that programs type-check as without us.

At run time each method hands its arguments on as they are. To a type checker it takes what the
client's method takes, and our own three names beside it; what it returns follows from `stream` and
from whether the client is asynchronous.
"""

from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from aos_sdk.cus_base import CusCallOptions, CusPackageProvider, Later, text_of
from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_providers.openai import CHAT, COMPLETION, EMBEDDING, RESPONSES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream, Timeout
    from openai.types import Completion, CreateEmbeddingResponse, EmbeddingCreateParams
    from openai.types import completion_create_params as text
    from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam
    from openai.types.chat import completion_create_params as chat
    from openai.types.responses import Response, ResponseStreamEvent
    from openai.types.responses import response_create_params as responses
    from typing_extensions import TypeVar

    ClientT = TypeVar("ClientT", bound=OpenAI | AsyncOpenAI, covariant=True, default=OpenAI)
    Messages = Iterable[ChatCompletionMessageParam]

    class Options(CusCallOptions, total=False):
        timeout: float | Timeout | None

    class ChatWhole(chat.CompletionCreateParamsNonStreaming, Options): ...

    class ChatStream(chat.CompletionCreateParamsStreaming, Options): ...

    class ChatEither(chat.CompletionCreateParamsBase, Options): ...

    class TextWhole(text.CompletionCreateParamsNonStreaming, Options): ...

    class TextStream(text.CompletionCreateParamsStreaming, Options): ...

    class TextEither(text.CompletionCreateParamsBase, Options): ...

    class ResponseWhole(responses.ResponseCreateParamsNonStreaming, Options): ...

    class ResponseStream(responses.ResponseCreateParamsStreaming, Options): ...

    class ResponseEither(responses.ResponseCreateParamsBase, Options): ...

    class Embedding(EmbeddingCreateParams, Options): ...
else:
    from typing import TypeVar

    ClientT = TypeVar("ClientT")


class CusOpenAICalls(CusPackageProvider[ClientT]):
    """The calls of `CusOpenAIProvider`, with a synchronous and with an asynchronous client."""

    @overload
    def chat_completions_create(
        self: "CusOpenAICalls[OpenAI]", **kwargs: "Unpack[ChatWhole]"
    ) -> "ChatCompletion": ...
    @overload
    def chat_completions_create(
        self: "CusOpenAICalls[OpenAI]", **kwargs: "Unpack[ChatStream]"
    ) -> "Stream[ChatCompletionChunk]": ...
    @overload
    def chat_completions_create(
        self: "CusOpenAICalls[OpenAI]", *, stream: bool, **kwargs: "Unpack[ChatEither]"
    ) -> "ChatCompletion | Stream[ChatCompletionChunk]": ...
    @overload
    def chat_completions_create(
        self: "CusOpenAICalls[AsyncOpenAI]", **kwargs: "Unpack[ChatWhole]"
    ) -> "Later[ChatCompletion]": ...
    @overload
    def chat_completions_create(
        self: "CusOpenAICalls[AsyncOpenAI]", **kwargs: "Unpack[ChatStream]"
    ) -> "Later[AsyncStream[ChatCompletionChunk]]": ...
    @overload
    def chat_completions_create(
        self: "CusOpenAICalls[AsyncOpenAI]", *, stream: bool, **kwargs: "Unpack[ChatEither]"
    ) -> "Later[ChatCompletion | AsyncStream[ChatCompletionChunk]]": ...
    @passed_over_by_warnings
    def chat_completions_create(self, **kwargs: Any) -> Any:
        """`client.chat.completions.create(**kwargs)`."""
        return self._govern(CHAT, self._client.chat.completions.create, kwargs)

    @overload
    def completions_create(
        self: "CusOpenAICalls[OpenAI]", **kwargs: "Unpack[TextWhole]"
    ) -> "Completion": ...
    @overload
    def completions_create(
        self: "CusOpenAICalls[OpenAI]", **kwargs: "Unpack[TextStream]"
    ) -> "Stream[Completion]": ...
    @overload
    def completions_create(
        self: "CusOpenAICalls[OpenAI]", *, stream: bool, **kwargs: "Unpack[TextEither]"
    ) -> "Completion | Stream[Completion]": ...
    @overload
    def completions_create(
        self: "CusOpenAICalls[AsyncOpenAI]", **kwargs: "Unpack[TextWhole]"
    ) -> "Later[Completion]": ...
    @overload
    def completions_create(
        self: "CusOpenAICalls[AsyncOpenAI]", **kwargs: "Unpack[TextStream]"
    ) -> "Later[AsyncStream[Completion]]": ...
    @overload
    def completions_create(
        self: "CusOpenAICalls[AsyncOpenAI]", *, stream: bool, **kwargs: "Unpack[TextEither]"
    ) -> "Later[Completion | AsyncStream[Completion]]": ...
    @passed_over_by_warnings
    def completions_create(self, **kwargs: Any) -> Any:
        """`client.completions.create(**kwargs)`."""
        return self._govern(COMPLETION, self._client.completions.create, kwargs)

    @overload
    def responses_create(
        self: "CusOpenAICalls[OpenAI]", **kwargs: "Unpack[ResponseWhole]"
    ) -> "Response": ...
    @overload
    def responses_create(
        self: "CusOpenAICalls[OpenAI]", **kwargs: "Unpack[ResponseStream]"
    ) -> "Stream[ResponseStreamEvent]": ...
    @overload
    def responses_create(
        self: "CusOpenAICalls[OpenAI]", *, stream: bool, **kwargs: "Unpack[ResponseEither]"
    ) -> "Response | Stream[ResponseStreamEvent]": ...
    @overload
    def responses_create(
        self: "CusOpenAICalls[AsyncOpenAI]", **kwargs: "Unpack[ResponseWhole]"
    ) -> "Later[Response]": ...
    @overload
    def responses_create(
        self: "CusOpenAICalls[AsyncOpenAI]", **kwargs: "Unpack[ResponseStream]"
    ) -> "Later[AsyncStream[ResponseStreamEvent]]": ...
    @overload
    def responses_create(
        self: "CusOpenAICalls[AsyncOpenAI]", *, stream: bool, **kwargs: "Unpack[ResponseEither]"
    ) -> "Later[Response | AsyncStream[ResponseStreamEvent]]": ...
    @passed_over_by_warnings
    def responses_create(self, **kwargs: Any) -> Any:
        """`client.responses.create(**kwargs)`."""
        return self._govern(RESPONSES, self._client.responses.create, kwargs)

    @overload
    def embeddings_create(
        self: "CusOpenAICalls[OpenAI]", **kwargs: "Unpack[Embedding]"
    ) -> "CreateEmbeddingResponse": ...
    @overload
    def embeddings_create(
        self: "CusOpenAICalls[AsyncOpenAI]", **kwargs: "Unpack[Embedding]"
    ) -> "Later[CreateEmbeddingResponse]": ...
    @passed_over_by_warnings
    def embeddings_create(self, **kwargs: Any) -> Any:
        """`client.embeddings.create(**kwargs)`."""
        return self._govern(EMBEDDING, self._client.embeddings.create, kwargs)

    @overload
    def chat(
        self: "CusOpenAICalls[OpenAI]",
        messages: "Messages",
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Stream[ChatCompletionChunk]": ...
    @overload
    def chat(
        self: "CusOpenAICalls[OpenAI]", messages: "Messages", model: str, **kwargs: Any
    ) -> "ChatCompletion": ...
    @overload
    def chat(
        self: "CusOpenAICalls[AsyncOpenAI]",
        messages: "Messages",
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Later[AsyncStream[ChatCompletionChunk]]": ...
    @overload
    def chat(
        self: "CusOpenAICalls[AsyncOpenAI]", messages: "Messages", model: str, **kwargs: Any
    ) -> "Later[ChatCompletion]": ...
    def chat(self, messages: Any, model: str, **kwargs: Any) -> Any:
        """A chat completion of these messages."""
        adapter: Any = self
        return adapter.chat_completions_create(messages=messages, model=model, **kwargs)

    @overload
    def complete(
        self: "CusOpenAICalls[OpenAI]",
        prompt: str,
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Stream[ChatCompletionChunk]": ...
    @overload
    def complete(
        self: "CusOpenAICalls[OpenAI]", prompt: str, model: str, **kwargs: Any
    ) -> "ChatCompletion": ...
    @overload
    def complete(
        self: "CusOpenAICalls[AsyncOpenAI]",
        prompt: str,
        model: str,
        *,
        stream: Literal[True],
        **kwargs: Any,
    ) -> "Later[AsyncStream[ChatCompletionChunk]]": ...
    @overload
    def complete(
        self: "CusOpenAICalls[AsyncOpenAI]", prompt: str, model: str, **kwargs: Any
    ) -> "Later[ChatCompletion]": ...
    def complete(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """A chat completion of one prompt."""
        adapter: Any = self
        return adapter.chat([{"role": "user", "content": prompt}], model, **kwargs)

    @overload
    def ask(self: "CusOpenAICalls[OpenAI]", prompt: str, model: str, **kwargs: Any) -> str: ...
    @overload
    def ask(
        self: "CusOpenAICalls[AsyncOpenAI]", prompt: str, model: str, **kwargs: Any
    ) -> "Later[str]": ...
    def ask(self, prompt: str, model: str, **kwargs: Any) -> Any:
        """The text that answers a prompt; an awaitable of it if the client is asynchronous."""
        adapter: Any = self
        return text_of(adapter.complete(prompt, model, **kwargs), _text)


def _text(completion: Any) -> str:
    return completion.choices[0].message.content or ""
