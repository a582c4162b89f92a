"""The quick ways say what the general ones say, whatever they are given.

A plain answer's usage and a call's record are read and written in a hurry; here each meets the slow
way, on objects of the packages' own classes as their clients make them, and on values that are none.
"""

import json
from enum import Enum, StrEnum
from typing import Any

import openai.types as ot
import openai.types.chat as oc
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response

from aos_sdk import CusCallTracker, CusReporter, CusTokenUsage
from aos_sdk.cus_counting.answer_fields import get
from aos_sdk.cus_counting.openai_usage import openai_usage, plain_chat_usage
from aos_sdk.cus_delivery.buffer import CusEntry, CusMemoryBuffer
from aos_sdk.cus_delivery.codec import encode_any, encode_call
from aos_sdk.cus_usage import _bearer

Data = st.SearchStrategy[Any]

ODD: Data = st.sampled_from([None, True, False, 1.0, "7", [], {}, -1, 2**40])
COUNTS = st.integers(0, 9) | ODD


def _some(names: str, values: Data = COUNTS) -> Data:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names.split(), values))


SENT = _some(
    "cached_tokens audio_tokens image_tokens text_tokens cache_write_tokens cached_tokens_details "
    "cache_write_tokens_details odd"
)
MADE = _some("reasoning_tokens audio_tokens image_tokens text_tokens odd")
DETAILS = {
    "prompt_tokens_details": SENT | _some("cached_tokens audio_tokens", st.integers(0, 9)) | ODD,
    "completion_tokens_details": MADE | _some("reasoning_tokens", st.integers(0, 9)) | ODD,
}
WHOLE = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), st.integers(0, 9))
ANSWERS = st.fixed_dictionaries(
    {
        "usage": st.fixed_dictionaries(WHOLE, optional=DETAILS)
        | st.fixed_dictionaries(
            dict.fromkeys(WHOLE, COUNTS), optional={**DETAILS, "input_tokens": COUNTS}
        )
        | ODD,
        "object": st.sampled_from(["chat.completion", "batch", None]),
    },
    optional={
        "service_tier": st.sampled_from(["flex", "default", None, 5]),
        "output": st.sampled_from([None, [], [{"type": "web_search_call"}]]),
        "svg_usage": st.just({"total_tokens": 4}),
    },
)
KINDS: list[Any] = [
    oc.ChatCompletion, oc.ParsedChatCompletion, oc.ChatCompletionChunk, ot.Completion,
    ot.CreateEmbeddingResponse, ot.Batch, ot.ImagesResponse, Response,
]  # fmt: skip


@settings(deadline=None)  # pydantic builds a class when it is first used
@given(st.sampled_from(KINDS), ANSWERS, st.booleans())
def test_the_usage_of_a_plain_answer_is_read_as_that_of_any_other(
    kind: Any, answer: dict[str, Any], is_nested: bool
) -> None:
    made = kind.construct(**answer) if is_nested else kind.model_construct(**answer)
    quick = plain_chat_usage(made)
    bearer = _bearer(made)
    if quick is not None:
        slow = openai_usage(bearer, get(bearer, "usage"))
        assert [(type(one), one) for one in quick] == [(type(one), one) for one in slow]


class _Model(str, Enum):  # noqa: UP042 - its members call themselves otherwise than they are
    KNOWN = "gpt-4o"


class _Name(StrEnum):
    ONE = "one"


NO_TEXTS = (None, 0, False, 0.0, 1, True, b"")
ODD_TEXTS = (_Model.KNOWN, _Name.ONE, "\x1f", "\ud800", "é" * 120, "x" * 5_000)
TEXTS = st.text(max_size=5) | st.sampled_from([*NO_TEXTS, *ODD_TEXTS, "gpt-4o", "gpt-5.4"])
USAGES = st.builds(CusTokenUsage, *[st.integers(0, 9)] * 9) | st.none()
TOLD = st.fixed_dictionaries(
    {},
    optional={
        "model": TEXTS, "provider": TEXTS, "session_id": TEXTS, "agent_id": TEXTS,
        "error_code": TEXTS, "service_tier": TEXTS, "model_requested": TEXTS, "end_user": TEXTS,
        "response_id": TEXTS, "provider_request_id": TEXTS | st.just("Bearer abcdefgh-abcdefgh"),
        "tags": st.lists(TEXTS | st.just("a=b"), max_size=6).map(tuple), "usage": USAGES | st.just((1, 2)),
        "cost_cents": st.integers(-1, 9), "latency_ms": st.integers(-1, 2**33),
        "call_id": st.sampled_from(["mine", "é\ud800", "\x1f", _Name.ONE]),
        "started_at": st.integers(-(10**18), 4 * 10**18), "stream": st.booleans(),
    },
)  # fmt: skip


def _call(told: dict[str, Any]) -> CusCallTracker:
    call = CusCallTracker(CusReporter("no key"), "openai", "gpt-4o")
    facts = {"call_id": None, "is_settled": True, "started_at": 1, "usage": CusTokenUsage(5, 4)}
    for name, fact in {**facts, **told}.items():
        setattr(call, name, fact)
    return call


def _json_of(entry: CusEntry) -> Any:
    told = json.loads(entry.to_json("i"))
    # An empty text and a missing one mean the same to the server.
    return {name: value for name, value in told.items() if value != ""}


def _from_memory(told: dict[str, Any]) -> Any:
    memory = CusMemoryBuffer(1)
    memory.process_id = "p"
    memory.append(_call(told))
    return _json_of(memory.take(1)[0])


def _from_ring(told: dict[str, Any]) -> Any:
    call = _call(told)
    payload = encode_call(call) or encode_any(call.named("p", 1).record())
    return _json_of(CusEntry("p", 1, payload))


def _or_refused(do: Any, told: dict[str, Any]) -> Any:
    try:
        return do(told)
    except (IndexError, TypeError, ValueError):  # what no JSON can hold, or is no usage
        return "refused"


@given(TOLD)
def test_a_call_is_told_the_same_from_memory_and_from_a_ring(told: dict[str, Any]) -> None:
    assert _or_refused(_from_memory, told) == _or_refused(_from_ring, told)
