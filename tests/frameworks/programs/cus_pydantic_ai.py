"""pydantic-ai: agents on OpenAI's chat completions and responses and on Anthropic, and embeddings."""

from typing import Any

from pydantic_ai import Agent, Embedder

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


def _told(result: Any) -> list[Any]:
    usage = result.usage() if callable(result.usage) else result.usage
    return [str(result.output), usage.input_tokens, usage.output_tokens, usage.requests]


def _plain(model: str) -> Any:
    return _told(Agent(model).run_sync("Hi"))


def _stream(model: str) -> Any:
    async def run() -> Any:
        async with Agent(model).run_stream("Hi") as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
            usage = result.usage() if callable(result.usage) else result.usage
            return [pieces, usage.input_tokens, usage.output_tokens]

    return wait_for(run())


def _tools(model: str) -> Any:
    return _told(Agent(model, tools=[weather]).run_sync("How is it?"))


def _structured(model: str) -> Any:
    return _told(Agent(model, output_type=Person).run_sync("Who?"))


def _embeddings() -> Any:
    result = Embedder(f"openai:{EMBEDDING_MODEL}").embed_documents_sync(["a", "b"])
    return [[list(vector) for vector in result.embeddings], result.usage.input_tokens]


def _cells(model: str) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(model),
        "stream": lambda: _stream(model),
        "tools": lambda: _tools(model),
        "structured": lambda: _structured(model),
    }


ROWS: Rows = {
    "OpenAI chat": {**_cells(f"openai-chat:{OPENAI_MODEL}"), "embeddings": _embeddings},
    "OpenAI responses": _cells(f"openai-responses:{OPENAI_MODEL}"),
    "Anthropic": _cells(f"anthropic:{ANTHROPIC_MODEL}"),
}
