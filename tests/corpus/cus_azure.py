"""Calls of Azure's deployments, whose names are their customer's own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.corpus.cus_calls import PROMPT, Call
from tests.corpus.cus_openai_shapes import (
    chat,
    chunks,
    responses,
    sent_and_made,
    single,
    tokens,
)
from tests.corpus.cus_places import AZURE, AZURE_PRICING, AZURE_V1

# Azure's first chunk tells what its filter found in the prompt, and no model.
_FILTERED: Final = {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}


def _deployed(name: str, model: str, usage: Any, bills: str, **more: Any) -> Iterator[Call]:
    """A deployment's chat, whole and streamed; the stream's first chunk has an empty name."""
    place = more.pop("place", AZURE)
    calls = chat(name, model, usage, bills, place=place, page=AZURE_PRICING, **more)
    whole, streamed = calls
    tier = {key: value for key, value in more.items() if key == "service_tier"}
    events = chunks(model, usage, names="", **tier)
    first = {**events.events[0], **_FILTERED, "choices": []}
    yield whole
    yield replace(streamed, answers=(replace(events, events=(first, *events.events[1:])),))


CALLS: Final[list[Call]] = [
    *_deployed("chat of a deployment", "gpt-4o-2024-08-06", tokens(1_000, 500),
               "1000 x 250 + 500 x 1000", asked="prod-chat"),
    *_deployed("chat of a deployment that is still called gpt-4o", "gpt-5.5-2026-04-23",
               tokens(1_000, 500, cached=400), "600 x 500 + 400 x 50 + 500 x 3000",
               asked="gpt-4o"),
    *_deployed("cached chat of a deployment", "gpt-4.1-mini-2025-04-14",
               tokens(2_000, 500, cached=1_024), "976 x 40 + 1024 x 10 + 500 x 160",
               asked="cheap"),
    *_deployed("chat of a deployment that reasons", "o3-mini-2025-01-31",
               tokens(1_000, 500, reasoning=256), "1000 x 110 + 500 x 440", asked="thinker"),
    *_deployed("chat by the new address", "gpt-4o-mini-2024-07-18", tokens(1_000, 500),
               "1000 x 15 + 500 x 60", asked="small", place=AZURE_V1),
    *_deployed("chat of a deployment with audio", "gpt-audio-mini",
               tokens(1_000, 500, audio=(900, 300)),
               "100 x 60 + 900 x 1000 + 200 x 240 + 300 x 2000", asked="voice"),
    *responses("response by Azure's address", "gpt-5",
               sent_and_made(1_000, 500, cached=200, reasoning=300),
               "800 x 125 + 200 x 12.5 + 500 x 1000", place=AZURE_V1, page=AZURE_PRICING),
    single("embedding of a deployment", "embeddings.create",
           {"model": "vectors", "input": PROMPT, "encoding_format": "float"},
           {"object": "list", "model": "text-embedding-3-large", "data": [],
            "usage": {"prompt_tokens": 1_000, "total_tokens": 1_000}},
           "1000 x 13", place=AZURE, page=AZURE_PRICING, model="text-embedding-3-large"),
]  # fmt: skip
