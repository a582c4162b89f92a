"""langchain: the chat models of langchain-openai and langchain-anthropic, and embeddings."""

from collections.abc import Callable
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

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

MakeModel = Callable[[], Any]


_WEATHER = tool(weather)


def _dumped(message: Any) -> Any:
    # The ids of a run are new each time.
    return message.model_dump(mode="json", exclude={"id"})


def _plain(model: Any) -> Any:
    return _dumped(model.invoke("Hi"))


def _stream(model: Any) -> Any:
    return [_dumped(chunk) for chunk in model.stream("Hi")]


def _tools(model: Any) -> Any:
    async def run() -> Any:
        bound = model.bind_tools([_WEATHER])
        asked: list[Any] = [("user", "How is it?")]
        call = await bound.ainvoke(asked)
        result = _WEATHER.invoke(call.tool_calls[0])
        return [_dumped(call), _dumped(await bound.ainvoke([*asked, call, result]))]

    return wait_for(run())


def _structured(model: Any) -> Any:
    found = model.with_structured_output(Person, include_raw=True).invoke("Who?")
    return [found["parsed"].model_dump(), _dumped(found["raw"])]


def _embeddings() -> Any:
    # Without the check of lengths, for which tiktoken would be downloaded.
    model = OpenAIEmbeddings(model=EMBEDDING_MODEL, check_embedding_ctx_length=False)
    return [model.embed_query("a"), wait_for(model.aembed_documents(["a", "b"]))]


def _cells(make: MakeModel) -> dict[str, Cell]:
    return {
        "plain": lambda: _plain(make()),
        "stream": lambda: _stream(make()),
        "tools": lambda: _tools(make()),
        "structured": lambda: _structured(make()),
    }


ROWS: Rows = {
    "OpenAI chat": {**_cells(lambda: ChatOpenAI(model=OPENAI_MODEL)), "embeddings": _embeddings},
    "OpenAI chat, raw": _cells(
        lambda: ChatOpenAI(model=OPENAI_MODEL, include_response_headers=True)
    ),
    "OpenAI responses": _cells(lambda: ChatOpenAI(model=OPENAI_MODEL, use_responses_api=True)),
    "Anthropic": _cells(lambda: ChatAnthropic(model=ANTHROPIC_MODEL)),
}
