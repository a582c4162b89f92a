"""What the frameworks' programs share: the form of their cells, a schema, a tool, and an event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from pydantic import BaseModel

Cell = Callable[[], Any]
# A framework's rows, each with its cells: a function returns the framework's own output.
Rows = Mapping[str, Mapping[str, Cell]]

OPENAI_MODEL: Final = "gpt-4o"
ANTHROPIC_MODEL: Final = "claude-sonnet-4-5"
EMBEDDING_MODEL: Final = "text-embedding-3-small"
_runner: Final = asyncio.Runner()


class Person(BaseModel):
    """The document that a model is asked for."""

    name: str
    age: int


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: The city's name.
    """
    return f"Sunny in {city}."


def wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in the program's only loop: frameworks keep connections from one cell to the next."""
    return _runner.run(coroutine)
