"""Usage as others word it who speak OpenAI's protocol: Groq, DeepSeek, Moonshot, xAI, OpenRouter."""

import decimal
from typing import Any

import openai.types.chat as oc
import pytest

from aos_sdk import CusReportedUsage, CusStreamUsage, extract_token_usage
from aos_sdk.cus_counting.stream_text import read_events

COUNTS: dict[str, Any] = {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}
GROQ = {"id": "req_1", "usage": {**COUNTS, "queue_time": 0.1}}


def _answer(usage: Any, **more: Any) -> Any:
    """A whole answer of OpenAI's package, as its client makes one."""
    answer = {"id": "c", "object": "chat.completion", "model": "m", "choices": [], "usage": usage}
    return oc.ChatCompletion.construct(**answer, **more)


def _chunk(**fields: Any) -> Any:
    return oc.ChatCompletionChunk.construct(id="c", choices=[], **fields)


def _read(usage: Any) -> CusReportedUsage:
    """Read it from the package's object and from the JSON, which say the same."""
    usages = [extract_token_usage(answer) for answer in (_answer(usage), {"usage": usage})]
    assert usages[0] == usages[1]
    assert extract_token_usage(_answer(usage), "openai") == usages[0]
    return usages[0]


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_cache_hit_tokens": 400, "prompt_cache_miss_tokens": 600},
        {"cached_tokens": 400},
        {"num_cached_tokens": 400},
        {"prompt_tokens_details": {"num_cached_tokens": 400}},
        {"prompt_tokens_details": {"cached_tokens": 400}, "prompt_cache_hit_tokens": 400},
    ],
)
def test_cached_tokens_are_found_wherever_a_provider_has_them(more: dict[str, Any]) -> None:
    usage = _read({**COUNTS, **more})

    assert (usage.tokens_in, usage.tokens_cached, usage.tokens_total) == (1_000, 400, 1_500)


@pytest.mark.parametrize("details", [{}, {"completion_tokens_details": {"reasoning_tokens": 300}}])
def test_thinking_outside_the_completion_is_billed_as_output(details: dict[str, Any]) -> None:
    usage = _read({**COUNTS, "total_tokens": 1_800, **details})

    assert (usage.tokens_in, usage.tokens_out, usage.tokens_reasoning) == (1_000, 800, 300)
    assert usage.tokens_total == 1_800


def test_thinking_within_the_completion_is_not_counted_twice() -> None:
    usage = _read({**COUNTS, "completion_tokens_details": {"reasoning_tokens": 300}})

    assert (usage.tokens_out, usage.tokens_reasoning) == (500, 300)


def test_what_a_total_has_beyond_an_embedding_or_is_cached_is_no_thinking() -> None:
    embedding = _read({"prompt_tokens": 1_000, "total_tokens": 1_200})
    cached = {"prompt_tokens_details": {"cached_tokens": 400}}
    gateway = _read({**COUNTS, "total_tokens": 1_900, **cached})

    assert (embedding.tokens_out, embedding.tokens_reasoning) == (0, 0)
    assert (gateway.tokens_out, gateway.tokens_reasoning) == (500, 0)


@pytest.mark.parametrize(
    ("cost", "microcents"),
    [
        (0.0123, 1_230_000),
        (1e-8, 1),
        (1.00000001, 100_000_001),
        (0.000000001, 1),  # a part of a microcent is rounded up
        (0.1 + 0.2, 30_000_001),  # 0.30000000000000004, as the JSON has it
        (2, 200_000_000),
        (0, 0),
        ({"total_cost": 0.5, "input_tokens_cost": 0.2}, 50_000_000),
        (-1.0, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e300, None),
        ("0.01", None),
        (True, None),
        (None, None),
        ({}, None),
    ],
)
def test_a_stated_cost_is_kept_to_the_microcent(cost: Any, microcents: int | None) -> None:
    with decimal.localcontext(prec=3):
        assert _read({**COUNTS, "cost": cost}).provider_cost_microcents == microcents


def test_the_usage_of_groqs_streams_is_read_where_groq_has_it() -> None:
    chunks = [_chunk(model="m"), _chunk(model="m", x_groq={"id": "req_1"}), _chunk(x_groq=GROQ)]
    added, read = CusStreamUsage("groq"), CusStreamUsage("groq")
    for chunk in chunks:
        added.add(chunk)
    read_events(chunks, [], read)
    raw = CusStreamUsage("groq")
    for event in ({"choices": [], "model": "m"}, {"choices": [], "x_groq": GROQ}):
        raw.add(event)

    for stream in (added, read, raw):
        assert stream.usage[:2] == (1_000, 500)
        assert stream.usage.reported


def test_groqs_own_words_beside_the_usage_change_nothing() -> None:
    answer = _answer({**COUNTS, "queue_time": 0.1, "total_time": 0.5}, x_groq={"id": "req_1"})

    assert extract_token_usage(answer, "groq")[:2] == (1_000, 500)


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_background_response_that_still_runs_has_no_usage_yet(status: str) -> None:
    response = {"object": "response", "status": status, "usage": {"input_tokens": 0}}

    assert not extract_token_usage(response).reported
    assert extract_token_usage({**response, "status": "completed"}).reported
