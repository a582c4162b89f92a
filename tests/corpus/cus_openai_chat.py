"""Chat completions and completions of OpenAI's."""

from typing import Any, Final

from tests.corpus.cus_calls import PROMPT, Call
from tests.corpus.cus_openai_shapes import bare_tokens, chat, completion, single, tokens
from tests.corpus.cus_places import (
    OPENAI_EU,
    OPENAI_GPT_5_4,
    OPENAI_US,
)


def _refused(model: str, usage: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "refusal": "No."}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return completion(model, usage, choices=[choice])


def _text_completion(model: str, usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": "None.", "finish_reason": "stop", "logprobs": None}
    return {**completion(model, usage), "object": "text_completion", "choices": [choice]}


def _completion(model: str, bills: str) -> Call:
    asks = {"model": model, "prompt": PROMPT}
    answer = _text_completion(model, bare_tokens(1_000, 500))
    return single(f"completion of {model}", "completions.create", asks, answer, bills)


_SPEAKS: Final = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
_PRIORITY: Final = {"service_tier": "priority"}

CALLS: Final[list[Call]] = [
    *chat("chat", "gpt-4o", tokens(1_000, 500), "1000 x 250 + 500 x 1000"),
    *chat("chat of a dated model", "gpt-4o-2024-08-06", tokens(77, 3), "77 x 250 + 3 x 1000",
          asked="gpt-4o"),
    *chat("chat of the first gpt-4o", "gpt-4o-2024-05-13", tokens(1_000, 500),
          "1000 x 500 + 500 x 1500"),
    *chat("chat of a small model", "gpt-4o-mini-2024-07-18", tokens(1_000, 500),
          "1000 x 15 + 500 x 60", asked="gpt-4o-mini"),
    *chat("cached chat", "gpt-4o", tokens(4_096, 500, cached=3_072),
          "1024 x 250 + 3072 x 125 + 500 x 1000"),
    *chat("cached chat with half a microcent", "gpt-4o-mini", tokens(2_049, 1, cached=2_047),
          "2 x 15 + 2047 x 7.5 + 1 x 60"),
    *chat("chat with reasoning", "gpt-5", tokens(1_000, 2_500, reasoning=2_048),
          "1000 x 125 + 2500 x 1000", service_tier="default"),
    *chat("cached chat with reasoning", "gpt-5-mini", tokens(1_000, 500, cached=896, reasoning=64),
          "104 x 25 + 896 x 2.5 + 500 x 200"),
    *chat("chat of o3-mini", "o3-mini", tokens(1_000, 500, cached=256, reasoning=448),
          "744 x 110 + 256 x 55 + 500 x 440"),
    *chat("chat of o1", "o1", tokens(1_000, 500, cached=512, reasoning=400),
          "488 x 1500 + 512 x 750 + 500 x 6000"),
    *chat("chat with audio in and out", "gpt-audio", tokens(1_000, 500, audio=(700, 400)),
          "300 x 250 + 700 x 3200 + 100 x 1000 + 400 x 6400", asks=_SPEAKS),
    *chat("chat with audio of a small model", "gpt-audio-mini", tokens(900, 300, audio=(800, 0)),
          "100 x 60 + 800 x 1000 + 300 x 240", asks=_SPEAKS),
    *chat("chat with predicted output", "gpt-4.1", tokens(1_000, 500, predicted=(300, 120)),
          "1000 x 200 + 500 x 800"),
    *chat("chat on the flex tier", "gpt-5", tokens(1_000, 500, cached=200, reasoning=300),
          "800 x 62.5 + 200 x 6.25 + 500 x 500", service_tier="flex"),
    *chat("chat on the priority tier", "gpt-5.2", tokens(1_000, 500, cached=200),
          "800 x 350 + 200 x 35 + 500 x 2800", asks=_PRIORITY, service_tier="priority"),
    *chat("chat of gpt-4.1 on the priority tier", "gpt-4.1", tokens(1_000, 500, cached=200),
          "800 x 350 + 200 x 87.5 + 500 x 1400", asks=_PRIORITY, service_tier="priority"),
    *chat("chat that asked for priority and got the default", "gpt-5", tokens(1_000, 500),
          "1000 x 125 + 500 x 1000", asks={"service_tier": "priority"}, service_tier="default"),
    *chat("chat of long context", "gpt-5.4", tokens(300_000, 1_000, cached=100_000),
          "200000 x 500 + 100000 x 50 + 1000 x 2250"),
    *chat("chat up to long context", "gpt-5.4", tokens(272_000, 1_000),
          "272000 x 250 + 1000 x 1500"),
    *chat("chat of long context on the flex tier", "gpt-5.4", tokens(272_001, 1_000),
          "272001 x 250 + 1000 x 1125", service_tier="flex"),
    *chat("chat of a fine-tuned model", "ft:gpt-4o-mini-2024-07-18:acme::B7", tokens(1_000, 500),
          "1000 x 30 + 500 x 120"),
    *chat("chat at the European host", "gpt-5.4", tokens(1_000, 500, cached=600),
          "400 x 275 + 600 x 27.5 + 500 x 1650", place=OPENAI_EU, page=OPENAI_GPT_5_4),
    *chat("chat at the host of the United States", "gpt-5.4-mini", tokens(1_000, 500),
          "1000 x 82.5 + 500 x 495", place=OPENAI_US, page=OPENAI_GPT_5_4),
    *chat("chat of an older model at the European host", "gpt-4o", tokens(1_000, 500),
          "1000 x 250 + 500 x 1000", place=OPENAI_EU, page=OPENAI_GPT_5_4),
    *chat("chat of a search model", "gpt-4o-search-preview", tokens(1_000, 500),
          "1000 x 250 + 500 x 1000 + 1 x 2500000"),
    *chat("chat of a small search model", "gpt-4o-mini-search-preview", tokens(1_000, 500),
          "1000 x 15 + 500 x 60 + 1 x 2500000"),
    *chat("chat of a search model that reasons", "gpt-5-search-api", tokens(1_000, 500, cached=64),
          "936 x 125 + 64 x 12.5 + 500 x 1000 + 1 x 1000000"),
    single("refused chat", "chat.completions.create",
           {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": PROMPT}]},
           _refused("gpt-4.1-mini", tokens(1_000, 2)), "1000 x 40 + 2 x 160"),
    _completion("gpt-3.5-turbo-instruct", "1000 x 150 + 500 x 200"),
    _completion("babbage-002", "1000 x 40 + 500 x 40"),
    _completion("davinci-002", "1000 x 200 + 500 x 200"),
]  # fmt: skip
