"""What a stream says is gathered, whatever else is between its words."""

from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk
from openai.types.completion import Completion

from aos_sdk.cus_stream_text import read_events
from aos_sdk.cus_usage import CusStreamUsage


def _chunk(*choices: dict[str, Any] | None) -> ChatCompletionChunk:
    return ChatCompletionChunk.construct(id="x", model="m", choices=list(choices))


def _says(**delta: Any) -> ChatCompletionChunk:
    return _chunk({"index": 0, "delta": delta})


CALL = {"index": 0, "function": {"name": "look", "arguments": '{"at":1}'}}


@pytest.mark.parametrize(
    ("between", "gathered"),
    [
        (_chunk(), []),
        (_chunk({"index": 0, "content_filter_offsets": {}}), []),
        (_chunk({"index": 0, "delta": None}), []),
        (_says(content=None), []),
        (_says(content=[{"type": "thinking", "thinking": "hm"}]), []),
        (_says(refusal="no"), ["no"]),
        (_says(content="a", refusal="b"), ["a", "b"]),
        (_says(tool_calls=[CALL]), ["look", '{"at":1}']),
        (Completion.construct(choices=[{"index": 0, "text": "old"}]), ["old"]),
        # What no provider sends, and gateways have sent.
        (_chunk(None), []),
        (_chunk({"index": 0, "delta": "words"}), []),
        (_says(tool_calls=[None]), []),
        (ChatCompletionChunk.construct(choices={"index": 0}), []),
    ],
)
def test_a_chunk_without_words_costs_those_around_it_nothing(
    between: Any, gathered: list[str]
) -> None:
    texts: list[str] = []
    events = [_says(content="before"), between, _says(content="after")]
    read_events(events, texts, CusStreamUsage("openai"))
    assert texts == ["before", *gathered, "after"]
