"""smolagents: a model alone, and an agent with a tool."""

from typing import Any

from smolagents import LogLevel, OpenAIModel, ToolCallingAgent, tool

from tests.frameworks.programs.cus_cells import OPENAI_MODEL, Person, Rows, weather

_WEATHER = tool(weather)
_ASKED: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]


def _plain() -> Any:
    return OpenAIModel(OPENAI_MODEL).generate(_ASKED).dict()


def _stream() -> Any:
    deltas = OpenAIModel(OPENAI_MODEL).generate_stream(_ASKED)
    return [[delta.content, str(delta.token_usage)] for delta in deltas]


def _tools() -> Any:
    agent = ToolCallingAgent(
        tools=[_WEATHER], model=OpenAIModel(OPENAI_MODEL), verbosity_level=LogLevel.OFF
    )
    result = agent.run("How is it?", return_full_result=True)
    return [str(result.output), result.state, str(result.token_usage)]


def _structured() -> Any:
    schema = {**Person.model_json_schema(), "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "Person", "schema": schema}}
    return OpenAIModel(OPENAI_MODEL).generate(_ASKED, response_format=form).dict()


ROWS: Rows = {
    "OpenAI chat": {
        "plain": _plain,
        "stream": _stream,
        "tools": _tools,
        "structured": _structured,
    }
}
