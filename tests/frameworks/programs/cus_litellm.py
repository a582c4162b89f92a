"""litellm: completions and responses of both providers, and embeddings."""

from typing import Any

import litellm

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

_TOOL: Any = {
    "type": "function",
    "function": {
        "name": weather.__name__,
        "description": weather.__doc__,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def _asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def _dumped(answer: Any) -> Any:
    # litellm makes ids and times of its own for some answers.
    return answer.model_dump(mode="json", exclude={"id", "created", "created_at"})


def _plain(model: str) -> Any:
    return _dumped(litellm.completion(model=model, messages=_asked("Hi")))


def _stream(model: str) -> Any:
    options = {"include_usage": True}
    chunks = litellm.completion(
        model=model, messages=_asked("Hi"), stream=True, stream_options=options
    )
    return [_dumped(chunk) for chunk in chunks]


def _tools(model: str) -> Any:
    async def run() -> Any:
        answer = await litellm.acompletion(model=model, messages=_asked("How?"), tools=[_TOOL])
        return _dumped(answer)

    return wait_for(run())


def _structured(model: str) -> Any:
    answer = litellm.completion(model=model, messages=_asked("Who?"), response_format=Person)
    return _dumped(answer)


def _responses_stream(model: str) -> Any:
    events = litellm.responses(model=model, input="Hi", stream=True)
    return [event.type for event in events]


def _embeddings() -> Any:
    return _dumped(litellm.embedding(model=EMBEDDING_MODEL, input=["a", "b"]))


def _cells(model: str) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(model),
        "stream": lambda: _stream(model),
        "tools": lambda: _tools(model),
        "structured": lambda: _structured(model),
    }


ROWS: Rows = {
    "OpenAI chat": {**_cells(f"openai/{OPENAI_MODEL}"), "embeddings": _embeddings},
    "OpenAI responses": {
        "plain": lambda: _dumped(litellm.responses(model=OPENAI_MODEL, input="Hi")),
        "stream": lambda: _responses_stream(OPENAI_MODEL),
    },
    "Anthropic": _cells(f"anthropic/{ANTHROPIC_MODEL}"),
}
