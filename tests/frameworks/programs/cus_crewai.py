"""crewAI: its models of both providers, and a crew with a tool."""

from collections.abc import Callable
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.rag.embeddings.factory import build_embedder
from crewai.tools import tool

from tests.frameworks.programs.cus_cells import (
    ANTHROPIC_MODEL,
    EMBEDDING_MODEL,
    OPENAI_MODEL,
    Cell,
    Person,
    Rows,
    weather,
)

_WEATHER = tool("weather")(weather)


def _plain(model: str, **options: Any) -> Any:
    return LLM(model=model, **options).call("Hi")


def _crew(model: Any, *, tools: list[Any]) -> Any:
    agent = Agent(role="Reporter", goal="Tell", backstory="One who tells.", llm=model, tools=tools)
    task = Task(description="Tell the weather.", expected_output="A sentence.", agent=agent)
    result = Crew(agents=[agent], tasks=[task]).kickoff()
    return [result.raw, str(result.token_usage)]


def _structured(model: str) -> Any:
    return str(LLM(model=model).call("Who?", response_model=Person))


def _embeddings() -> Any:
    embedder = build_embedder(
        {"provider": "openai", "config": {"model_name": EMBEDDING_MODEL, "api_key": "sk-x"}}
    )
    return [[float(number) for number in vector] for vector in embedder(["a", "b"])]


def _cells(model: str, **options: Any) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(model, **options),
        "stream": lambda: _plain(model, stream=True, **options),
        "tools": lambda: _crew(LLM(model=model, **options), tools=[_WEATHER]),
    }


def _with_schema(model: str) -> Callable[[], Any]:
    return lambda: _structured(model)


ROWS: Rows = {
    "OpenAI chat": {
        **_cells(f"openai/{OPENAI_MODEL}"),
        "structured": _with_schema(f"openai/{OPENAI_MODEL}"),
        "embeddings": _embeddings,
    },
    "OpenAI responses": _cells(f"openai/{OPENAI_MODEL}", api="responses"),
    "Anthropic": {
        **_cells(f"anthropic/{ANTHROPIC_MODEL}"),
        "structured": _with_schema(f"anthropic/{ANTHROPIC_MODEL}"),
    },
}
