"""instructor: objects by schema, whole and in parts, of both providers."""

from typing import Any

import anthropic
import instructor
import openai

from tests.frameworks.programs.cus_cells import (
    ANTHROPIC_MODEL,
    OPENAI_MODEL,
    Person,
    Rows,
    wait_for,
)

ASKED: list[Any] = [{"role": "user", "content": "Who is it?"}]


def _openai_plain() -> Any:
    client = instructor.from_openai(openai.OpenAI())
    person, completion = client.create_with_completion(
        model=OPENAI_MODEL, messages=ASKED, response_model=Person
    )
    return [person.model_dump(), completion.model_dump(mode="json")]


def _openai_stream() -> Any:
    client = instructor.from_openai(openai.OpenAI())
    parts = client.create_partial(model=OPENAI_MODEL, messages=ASKED, response_model=Person)
    return [part.model_dump() for part in parts]


def _openai_schema() -> Any:
    async def ask() -> Any:
        client = instructor.from_openai(openai.AsyncOpenAI(), mode=instructor.Mode.JSON_SCHEMA)
        return await client.create(model=OPENAI_MODEL, messages=ASKED, response_model=Person)

    return wait_for(ask()).model_dump()


def _anthropic_plain() -> Any:
    client = instructor.from_anthropic(anthropic.Anthropic())
    person, message = client.create_with_completion(
        model=ANTHROPIC_MODEL, max_tokens=100, messages=ASKED, response_model=Person
    )
    return [person.model_dump(), message.model_dump(mode="json")]


def _anthropic_stream() -> Any:
    client = instructor.from_anthropic(anthropic.Anthropic())
    parts = client.create_partial(
        model=ANTHROPIC_MODEL, max_tokens=100, messages=ASKED, response_model=Person
    )
    return [part.model_dump() for part in parts]


def _anthropic_async() -> Any:
    async def ask() -> Any:
        client = instructor.from_anthropic(anthropic.AsyncAnthropic())
        return await client.create(
            model=ANTHROPIC_MODEL, max_tokens=100, messages=ASKED, response_model=Person
        )

    return wait_for(ask()).model_dump()


ROWS: Rows = {
    "OpenAI": {"plain": _openai_plain, "stream": _openai_stream, "structured": _openai_schema},
    "Anthropic": {
        "plain": _anthropic_plain,
        "stream": _anthropic_stream,
        "structured": _anthropic_async,
    },
}
