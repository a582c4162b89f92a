"""haystack: its generators for both providers, and its embedder."""

from collections.abc import Callable
from typing import Any

from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack_integrations.components.generators.anthropic import AnthropicChatGenerator

from tests.frameworks.programs.cus_cells import (
    ANTHROPIC_MODEL,
    EMBEDDING_MODEL,
    OPENAI_MODEL,
    Cell,
    Person,
    Rows,
    wait_for,
    weather,
)

_WEATHER = create_tool_from_function(weather)


def _told(result: Any) -> Any:
    replies = [reply.to_dict() for reply in result["replies"]]
    for reply in replies:
        for time in ("completion_start_time", "received_at"):
            reply["meta"].pop(time, None)
    return replies


def _plain(generator: Any) -> Any:
    return _told(generator.run([ChatMessage.from_user("Hi")]))


def _stream(generator: Any) -> Any:
    chunks: list[Any] = []

    def seen(chunk: Any) -> None:
        chunks.append([chunk.content, chunk.finish_reason])

    result = generator.run([ChatMessage.from_user("Hi")], streaming_callback=seen)
    return [chunks, _told(result)]


def _tools(generator: Any) -> Any:
    asked = [ChatMessage.from_user("How is it?")]
    return _told(wait_for(generator.run_async(asked, tools=[_WEATHER])))


def _structured(make: Callable[..., Any], name: str) -> Any:
    generator = make(model=OPENAI_MODEL, generation_kwargs={name: Person})
    return _told(generator.run([ChatMessage.from_user("Who?")]))


def _embeddings() -> Any:
    return OpenAITextEmbedder(model=EMBEDDING_MODEL).run("a")


def _cells(make: Callable[..., Any], model: str) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(make(model=model)),
        "stream": lambda: _stream(make(model=model)),
        "tools": lambda: _tools(make(model=model)),
    }


ROWS: Rows = {
    "OpenAI chat": {
        **_cells(OpenAIChatGenerator, OPENAI_MODEL),
        "structured": lambda: _structured(OpenAIChatGenerator, "response_format"),
        "embeddings": _embeddings,
    },
    "OpenAI responses": {
        **_cells(OpenAIResponsesChatGenerator, OPENAI_MODEL),
        "structured": lambda: _structured(OpenAIResponsesChatGenerator, "text_format"),
    },
    "Anthropic": _cells(AnthropicChatGenerator, ANTHROPIC_MODEL),
}
