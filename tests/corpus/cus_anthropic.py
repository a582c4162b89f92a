"""Messages of Anthropic's, at its own API."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.corpus.cus_anthropic_shapes import message, messages, spoken, turn
from tests.corpus.cus_calls import UNPRICED, Call, Lines
from tests.corpus.cus_places import ANTHROPIC, ANTHROPIC_BATCH

_BETA: Final = "beta.messages.create"


def _in_turns(
    name: str, model: str, usage: Any, bills: str, turns: list[Any], **more: Any
) -> Iterator[Call]:
    usage = {**usage, "iterations": turns}
    yield from messages(name, model, usage, bills, path=_BETA, **more)


def _in_a_container(name: str, model: str, usage: Any, bills: str) -> Iterator[Call]:
    """A message with code that ran in a container, which is billed by hours that nobody tells."""
    for call in messages(name, model, usage, bills):
        yield replace(call, unpriced="code_executions")


def _batch(name: str, model: str, usages: list[Any], bills: str) -> Call:
    """The results of a batch; the last line is of a request that failed."""
    key = f"msgbatch_{name.split()[0]}"
    batch = {
        "id": key,
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": {
            "processing": 0, "succeeded": len(usages), "errored": 1, "canceled": 0, "expired": 0,
        },
        "created_at": "2026-11-27T10:00:00Z",
        "ended_at": "2026-11-27T11:00:00Z",
        "expires_at": "2026-11-28T10:00:00Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"https://api.anthropic.com/v1/messages/batches/{key}/results",
    }  # fmt: skip
    results: list[Any] = [
        {"type": "succeeded", "message": message(model, {**usage, "service_tier": "batch"})}
        for usage in usages
    ]
    error = {"type": "error", "error": {"type": "api_error", "message": "no"}}
    results.append({"type": "errored", "error": error})
    lines = [
        {"custom_id": f"line-{number}", "result": result} for number, result in enumerate(results)
    ]
    step = ("messages.batches.results", {"message_batch_id": key})
    answers = (batch, Lines(tuple(lines)))
    return Call(name, ANTHROPIC, (step,), answers, model, bills, ANTHROPIC_BATCH)


_FAST: Final = {"speed": "fast"}
_US: Final = {"inference_geo": "us"}

CALLS: Final[list[Call]] = [
    *messages("message", "claude-sonnet-4-20250514", spoken(1_000, 500),
              "1000 x 300 + 500 x 1500", asked="claude-sonnet-4-0"),
    *messages("message of an opus", "claude-opus-4-1-20250805", spoken(1_000, 500),
              "1000 x 1500 + 500 x 7500"),
    *messages("message of a haiku", "claude-haiku-4-5-20251001", spoken(1_000, 500),
              "1000 x 100 + 500 x 500", asked="claude-haiku-4-5"),
    *messages("message of an old haiku", "claude-3-haiku-20240307", spoken(1_000, 500),
              "1000 x 25 + 500 x 125"),
    *messages("message that reads a cache", "claude-sonnet-4-6", spoken(100, 500, read=9_000),
              "100 x 300 + 9000 x 30 + 500 x 1500"),
    *messages("message that writes a cache", "claude-opus-4-5-20251101",
              spoken(100, 500, written=(2_000, 0)), "100 x 500 + 2000 x 625 + 500 x 2500"),
    *messages("message that writes a cache for an hour", "claude-opus-4-5-20251101",
              spoken(100, 500, written=(0, 2_000)), "100 x 500 + 2000 x 1000 + 500 x 2500"),
    *messages("message with all of the caches", "claude-sonnet-4-5-20250929",
              spoken(100, 500, read=600, written=(200, 100)),
              "100 x 300 + 600 x 30 + 200 x 375 + 100 x 600 + 500 x 1500"),
    *messages("message of a model with a cheap cache", "claude-fable-5-2",
              spoken(100, 500, read=9_001, written=(200, 0)),
              "100 x 800 + 9001 x 20 + 200 x 1000 + 500 x 4000"),
    *messages("message with thinking", "claude-opus-4-6",
              spoken(1_000, 2_500, output_tokens_details={"thinking_tokens": 2_000}),
              "1000 x 500 + 2500 x 2500"),
    *messages("message that asks for a tool", "claude-haiku-4-5-20251001", spoken(1_000, 80),
              "1000 x 100 + 80 x 500", stop_reason="tool_use"),
    *messages("message with searches", "claude-sonnet-4-6",
              spoken(9_000, 500, server_tool_use={"web_search_requests": 2,
                                                  "web_fetch_requests": 0}),
              "9000 x 300 + 500 x 1500 + 2 x 1000000"),
    *messages("message with a page that was fetched", "claude-sonnet-4-6",
              spoken(9_000, 500, server_tool_use={"web_search_requests": 0,
                                                  "web_fetch_requests": 3}),
              "9000 x 300 + 500 x 1500"),
    # A container beside searches is free, and the usage counts the searches alone.
    *messages("message with code that ran beside a search", "claude-opus-4-8",
              spoken(9_000, 500, server_tool_use={"web_search_requests": 1,
                                                  "web_fetch_requests": 1}),
              "9000 x 500 + 500 x 2500 + 1 x 1000000"),
    *_in_a_container("message with code that ran", "claude-opus-4-8",
                     spoken(9_000, 500, server_tool_use={"code_execution_requests": 2}),
                     "9000 x 500 + 500 x 2500"),
    *messages("message in fast mode", "claude-opus-4-8", spoken(1_000, 500, speed="fast"),
              "1000 x 1000 + 500 x 5000", path=_BETA, asks=_FAST),
    *messages("message in fast mode that reads a cache", "claude-opus-5",
              spoken(100, 500, read=900, speed="fast"),
              "100 x 1000 + 900 x 100 + 500 x 5000", path=_BETA, asks=_FAST),
    *messages("message in fast mode in the United States", "claude-opus-4-8",
              spoken(1_000, 500, speed="fast", inference_geo="us"),
              "1000 x 1100 + 500 x 5500", path=_BETA, asks=_FAST | _US),
    *messages("message in the United States", "claude-opus-4-6",
              spoken(1_000, 500, read=100, inference_geo="us"),
              "1000 x 550 + 100 x 55 + 500 x 2750", asks=_US),
    *messages("message anywhere in the world", "claude-opus-4-6",
              spoken(1_000, 500, inference_geo="global"), "1000 x 500 + 500 x 2500"),
    *messages("message of long context", "claude-sonnet-4-5-20250929",
              spoken(150_000, 1_000, read=50_001),
              "150000 x 600 + 50001 x 60 + 1000 x 2250"),
    *messages("message up to long context", "claude-sonnet-4-5-20250929",
              spoken(150_000, 1_000, read=50_000),
              "150000 x 300 + 50000 x 30 + 1000 x 1500"),
    *messages("message of a model without long context's price", "claude-opus-4-7",
              spoken(600_000, 1_000), "600000 x 500 + 1000 x 2500"),
    *_in_turns("message after a compaction", "claude-opus-4-6", spoken(21_000, 1_100),
               "171000 x 500 + 2900 x 2500 + 21000 x 500 + 1100 x 2500",
               [turn("compaction", 171_000, 2_900), turn("message", 21_000, 1_100)]),
    *_in_turns("message in turns that are short of long context", "claude-haiku-5-5",
               spoken(130_000, 1_000), "60000 x 10 + 400 x 50 + 70000 x 10 + 600 x 50",
               [turn("message", 60_000, 400), turn("message", 70_000, 600)]),
    *_in_turns("message whose last turn alone is of long context", "claude-haiku-5-5",
               spoken(160_001, 1_000), "60000 x 10 + 400 x 50 + 100001 x 50 + 600 x 250",
               [turn("message", 60_000, 400), turn("message", 100_001, 600)]),
    *_in_turns("message with an advisor", "claude-sonnet-5", spoken(4_000, 700),
               "4000 x 200 + 700 x 1000 + 5000 x 500 + 800 x 2500",
               [turn("message", 1_500, 300),
                turn("advisor_message", 5_000, 800, model="claude-opus-4-8"),
                turn("message", 2_500, 400)]),
    *messages("message of a model that nobody knows", "claude-limerick-1", spoken(1_000, 500),
              UNPRICED),
    _batch("messages of a batch", "claude-sonnet-4-6",
           [spoken(100, 500, read=600), spoken(1_000, 500)],
           "1100 x 150 + 600 x 15 + 1000 x 750"),
    _batch("american messages of a batch", "claude-opus-4-6",
           [spoken(1_000, 500, inference_geo="us")], "1000 x 275 + 500 x 1375"),
]  # fmt: skip
