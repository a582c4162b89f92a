"""autogen: agents on the clients of autogen-ext."""

from collections.abc import Callable
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import UserMessage
from autogen_ext.models.anthropic import AnthropicChatCompletionClient
from autogen_ext.models.openai import OpenAIChatCompletionClient

from tests.frameworks.programs.cus_cells import (
    ANTHROPIC_MODEL,
    OPENAI_MODEL,
    Cell,
    Person,
    Rows,
    wait_for,
    weather,
)

_ABOUT: Any = {
    "vision": False,
    "function_calling": True,
    "json_output": True,
    "family": "unknown",
    "structured_output": True,
}


def _openai() -> Any:
    return OpenAIChatCompletionClient(model=OPENAI_MODEL)


def _anthropic() -> Any:
    return AnthropicChatCompletionClient(model=ANTHROPIC_MODEL, model_info=_ABOUT)


def _told(result: Any) -> Any:
    return [
        [type(message).__name__, str(message.content), str(message.models_usage)]
        for message in result.messages
    ]


def _agent(make: Callable[[], Any], **options: Any) -> Any:
    return AssistantAgent("a", model_client=make(), **options)


def _plain(make: Callable[[], Any]) -> Any:
    return _told(wait_for(_agent(make).run(task="Hi")))


def _stream(make: Callable[[], Any]) -> Any:
    async def run() -> Any:
        asked = [UserMessage(content="Hi", source="user")]
        return [str(item) async for item in make().create_stream(asked)]

    return wait_for(run())


def _tools(make: Callable[[], Any]) -> Any:
    agent = _agent(make, tools=[weather], reflect_on_tool_use=True)
    return _told(wait_for(agent.run(task="How is it?")))


def _structured(make: Callable[[], Any]) -> Any:
    return _told(wait_for(_agent(make, output_content_type=Person).run(task="Who?")))


def _cells(make: Callable[[], Any]) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(make),
        "stream": lambda: _stream(make),
        "tools": lambda: _tools(make),
    }


ROWS: Rows = {
    "OpenAI chat": {**_cells(_openai), "structured": lambda: _structured(_openai)},
    "Anthropic": _cells(_anthropic),
}
