"""What a stream says is gathered, whatever else is between its words."""

from typing import Any

import pytest
from anthropic._models import construct_type
from anthropic.types import RawContentBlockDeltaEvent, RawMessageDeltaEvent
from openai.types.chat import ChatCompletionChunk
from openai.types.completion import Completion

from aos_sdk.cus_counting.stream_text import read_events
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


def _block_says(**delta: Any) -> object:
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    return construct_type(type_=RawContentBlockDeltaEvent, value=event)


@pytest.mark.parametrize(
    ("event", "gathered"),
    [
        (_block_says(type="text_delta", text="said"), ["said"]),
        (_block_says(type="thinking_delta", thinking="thought"), ["thought"]),
        (_block_says(type="input_json_delta", partial_json='{"at":'), ['{"at":']),
        (_block_says(type="signature_delta", signature="0x00"), []),
        # Of a kind that no version of the package knows yet.
        (_block_says(type="song_delta", text="sung"), ["sung"]),
        (_block_says(type="text_delta", text=None), []),
        (_block_says(type="text_delta", text=["said"]), []),
        (RawContentBlockDeltaEvent.construct(index=0, delta="words"), ["words"]),
        (RawContentBlockDeltaEvent.construct(index=0), []),
        (RawMessageDeltaEvent.construct(delta=None, usage=None), []),
    ],
)
def test_each_kind_of_delta_is_gathered_by_what_it_says(event: Any, gathered: list[str]) -> None:
    texts: list[str] = []
    events = [_block_says(type="text_delta", text="before"), event]
    read_events(events, texts, CusStreamUsage("anthropic"))
    assert texts == ["before", *gathered]
