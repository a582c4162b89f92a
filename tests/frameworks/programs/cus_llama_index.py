"""llama-index: its models of both providers, and its embeddings."""

from collections.abc import Callable
from typing import Any

from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses

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

_WEATHER = FunctionTool.from_defaults(weather)


def _dumped(answer: Any) -> Any:
    return answer.model_dump(mode="json")


def _plain(model: Any) -> Any:
    return _dumped(model.complete("Hi"))


def _stream(model: Any) -> Any:
    return [[part.delta, _dumped(part)] for part in model.stream_complete("Hi")]


def _tools(model: Any) -> Any:
    async def run() -> Any:
        return await model.achat_with_tools([_WEATHER], user_msg="How is it?")

    return _dumped(wait_for(run()))


def _structured(model: Any) -> Any:
    return model.as_structured_llm(Person).complete("Who?").text


def _embeddings() -> Any:
    model = OpenAIEmbedding(model=EMBEDDING_MODEL)
    return [model.get_text_embedding("a"), model.get_text_embedding_batch(["b", "c"])]


def _cells(make: Callable[[], Any]) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(make()),
        "stream": lambda: _stream(make()),
        "tools": lambda: _tools(make()),
        "structured": lambda: _structured(make()),
    }


ROWS: Rows = {
    "OpenAI chat": {
        **_cells(lambda: OpenAI(model=OPENAI_MODEL)),
        "embeddings": _embeddings,
    },
    "OpenAI responses": _cells(lambda: OpenAIResponses(model=OPENAI_MODEL)),
    "Anthropic": _cells(lambda: Anthropic(model=ANTHROPIC_MODEL)),
}
