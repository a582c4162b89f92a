"""openai-agents: chat completions, and responses over HTTP and over a WebSocket."""

from collections.abc import Awaitable, Callable
from typing import Any

from agents import Agent, RunConfig, Runner, function_tool
from agents.models.openai_provider import OpenAIProvider

from tests.frameworks.programs.cus_cells import (
    OPENAI_MODEL,
    Cell,
    Person,
    Rows,
    wait_for,
    weather,
)


def _told(result: Any) -> list[Any]:
    usages = [response.usage for response in result.raw_responses]
    return [str(result.final_output), *[[u.input_tokens, u.output_tokens] for u in usages]]


async def _plain(config: RunConfig) -> Any:
    return _told(await Runner.run(Agent(name="a", model=OPENAI_MODEL), "Hi", run_config=config))


async def _stream(config: RunConfig) -> Any:
    running = Runner.run_streamed(Agent(name="a", model=OPENAI_MODEL), "Hi", run_config=config)
    seen: list[Any] = []
    async for event in running.stream_events():
        about = getattr(event, "data", None) or getattr(event, "item", None)
        seen.append([event.type, getattr(about, "type", None)])
    return [seen, _told(running)]


async def _tools(config: RunConfig) -> Any:
    agent = Agent(name="a", model=OPENAI_MODEL, tools=[function_tool(weather)])
    result = await Runner.run(agent, "How is it?", run_config=config)
    return [_told(result), [item.type for item in result.new_items]]


async def _structured(config: RunConfig) -> Any:
    agent = Agent(name="a", model=OPENAI_MODEL, output_type=Person)
    return _told(await Runner.run(agent, "Who?", run_config=config))


def _by(run: Callable[[RunConfig], Awaitable[Any]], **options: Any) -> Cell:
    async def running() -> Any:
        provider = OpenAIProvider(**options)
        config = RunConfig(model_provider=provider, tracing_disabled=True)
        try:
            return await run(config)
        finally:
            await provider.aclose()

    return lambda: wait_for(running())


def _cells(**options: Any) -> dict[str, Cell]:
    return {
        "plain": _by(_plain, **options),
        "stream": _by(_stream, **options),
        "tools": _by(_tools, **options),
        "structured": _by(_structured, **options),
    }


ROWS: Rows = {
    "OpenAI chat": _cells(use_responses=False),
    "OpenAI responses": _cells(use_responses=True),
    "OpenAI WebSocket": _cells(use_responses=True, use_responses_websocket=True),
}
