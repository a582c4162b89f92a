"""DSPy: predictions by its own client and through litellm, and embeddings."""

import logging
from typing import Any

import dspy

from tests.frameworks.programs.cus_cells import (
    ANTHROPIC_MODEL,
    EMBEDDING_MODEL,
    OPENAI_MODEL,
    Cell,
    Rows,
    wait_for,
    weather,
)

_ASK = "question -> answer"


def _model(name: str, **options: Any) -> Any:
    return dspy.LM(name, cache=False, num_retries=0, **options)


def _plain(model: Any) -> Any:
    with dspy.context(lm=model):
        return dspy.Predict(_ASK)(question="Hi").toDict()


def _stream(model: Any) -> Any:
    async def run() -> Any:
        listener = dspy.streaming.StreamListener(signature_field_name="answer")
        program = dspy.streamify(dspy.Predict(_ASK), stream_listeners=[listener])
        with dspy.context(lm=model):
            return [_seen(item) async for item in program(question="Hi")]

    return wait_for(run())


def _seen(item: Any) -> Any:
    return item.toDict() if isinstance(item, dspy.Prediction) else getattr(item, "chunk", str(item))


def _structured(model: Any) -> Any:
    with dspy.context(lm=model, adapter=dspy.JSONAdapter()):
        return dspy.Predict(_ASK)(question="Who?").toDict()


def _tools(model: Any) -> Any:
    answers = model(messages=[{"role": "user", "content": "How is it?"}], tools=[_TOOL])
    return [str(answer) for answer in answers]


_TOOL = dspy.Tool(weather).format_as_litellm_function_call()


def _embeddings() -> Any:
    embedder = dspy.Embedder(f"openai/{EMBEDDING_MODEL}", caching=False)
    return embedder(["a", "b"]).tolist()


def _cells(name: str, **options: Any) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(_model(name, **options)),
        "stream": lambda: _stream(_model(name, **options)),
        "tools": lambda: _tools(_model(name, **options)),
        "structured": lambda: _structured(_model(name, **options)),
    }


logging.getLogger("LiteLLM").setLevel(logging.ERROR)
_OPENAI = f"openai/{OPENAI_MODEL}"
ROWS: Rows = {
    "OpenAI chat": {**_cells(_OPENAI), "embeddings": _embeddings},
    "OpenAI chat, litellm": _cells(_OPENAI, engine="litellm"),
    "Anthropic": _cells(f"anthropic/{ANTHROPIC_MODEL}"),
}
