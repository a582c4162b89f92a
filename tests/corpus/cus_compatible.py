"""Calls of those who speak OpenAI's protocol in words of their own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from tests.corpus.cus_calls import UNPRICED, Call, Events, Place
from tests.corpus.cus_openai_shapes import bare_tokens, chat, chunks, tokens
from tests.corpus.cus_places import (
    BEDROCK_OPENAI,
    BEDROCK_PRICING,
    CEREBRAS,
    DEEPSEEK,
    FIREWORKS,
    GOOGLE,
    GROQ,
    MISTRAL,
    MOONSHOT,
    OPENAI,
    OPENROUTER,
    PERPLEXITY,
    TOGETHER,
    X_AI,
)

_DEEPSEEK_PAGE: Final = "Models & Pricing, DeepSeek API docs, 2026-11-28"
_GROQ_PAGE: Final = "Supported Models, GroqDocs, 2026-11-28"
_OPENROUTER_PAGE: Final = "Usage Accounting, OpenRouter docs, 2026-11-28"
_X_AI_PAGE: Final = "Models and Pricing, xAI docs, 2026-11-28"
_MISTRAL_PAGE: Final = "API Pricing, Mistral AI, 2026-11-28"
_MOONSHOT_PAGE: Final = "Model Inference Pricing, Kimi API Platform, 2026-11-28"
_GOOGLE_PAGE: Final = "Gemini Developer API pricing, 2026-11-28"
_TOGETHER_PAGE: Final = "Pricing, Together AI, 2026-11-28"
_FIREWORKS_PAGE: Final = "Pricing, Fireworks AI, 2026-11-28"
_PERPLEXITY_PAGE: Final = "Pricing, Perplexity docs, 2026-11-28"
_CEREBRAS_PAGE: Final = "Pricing, Cerebras, 2026-11-28"


def _hits(tokens_in: int, tokens_out: int, hit: int, **more: Any) -> dict[str, Any]:
    """DeepSeek's usage."""
    missed = tokens_in - hit
    counts = {"prompt_cache_hit_tokens": hit, "prompt_cache_miss_tokens": missed}
    return bare_tokens(tokens_in, tokens_out, **counts, **more)


def _groq(name: str, model: str, usage: Any, bills: str) -> Iterator[Call]:
    """Groq's chat, whole and streamed: the stream has its usage in a place of Groq's own."""
    whole, streamed = chat(name, model, usage, bills, place=GROQ, page=_GROQ_PAGE)
    *told, last = chunks(model, usage).events
    last = {**last, "usage": None, "x_groq": {"id": "req_7", "usage": usage}}
    yield whole
    yield replace(streamed, answers=(Events((*told, last)),))


def _routed(name: str, model: str, usage: Any, bills: str) -> Iterator[Call]:
    yield from chat(name, model, usage, bills, place=OPENROUTER, page=_OPENROUTER_PAGE)


def _thought(tokens_in: int, tokens_out: int, thought: int, cached: int = 0) -> dict[str, Any]:
    """Usage whose total alone has the tokens of its thinking."""
    usage = tokens(tokens_in, tokens_out, cached=cached, reasoning=thought)
    return {**usage, "total_tokens": tokens_in + tokens_out + thought}


def _unknown(name: str, model: str, place: Place) -> Iterator[Call]:
    page = "No page has a price of this model, 2026-11-28"
    yield from chat(name, model, bare_tokens(1_000, 500), UNPRICED, place=place, page=page)


CALLS: Final[list[Call]] = [
    *chat("DeepSeek's chat", "deepseek-v4-flash", _hits(1_000, 500, 0),
          "1000 x 15 + 500 x 60", place=DEEPSEEK, page=_DEEPSEEK_PAGE),
    *chat("DeepSeek's cached chat", "deepseek-v4-flash", _hits(1_000, 500, 768),
          "232 x 15 + 768 x 0.3 + 500 x 60", place=DEEPSEEK, page=_DEEPSEEK_PAGE),
    *chat("DeepSeek's thoughtful chat", "deepseek-v4-pro",
          _hits(1_000, 500, 64, completion_tokens_details={"reasoning_tokens": 400}),
          "936 x 66 + 64 x 2.2 + 500 x 198", place=DEEPSEEK, page=_DEEPSEEK_PAGE),
    *_groq("Groq's chat", "llama-3.3-70b-versatile",
           bare_tokens(1_000, 500, queue_time=0.1, total_time=0.4), "1000 x 59 + 500 x 79"),
    *_groq("Groq's cached chat", "openai/gpt-oss-120b",
           tokens(1_000, 500, cached=256, reasoning=90), "744 x 15 + 256 x 7.5 + 500 x 60"),
    *_groq("Groq's chat of a small model", "openai/gpt-oss-20b", bare_tokens(1_000, 500),
           "1000 x 7.5 + 500 x 30"),
    *_routed("OpenRouter's chat", "meta-llama/llama-3.3-70b-instruct",
             bare_tokens(1_000, 500, cost=0.000985), "1000 x 59 + 500 x 79"),
    *_routed("OpenRouter's cached chat", "moonshotai/kimi-k2.6",
             tokens(1_000, 500, cached=200, cost=0.002792), "800 x 95 + 200 x 16 + 500 x 400"),
    *_routed("OpenRouter's chat of OpenAI's model", "openai/gpt-4o",
             tokens(1_000, 500, cost=0.0075), "1000 x 250 + 500 x 1000"),
    *_routed("OpenRouter's chat of a model without a price", "acme/brand-new-1",
             bare_tokens(1_000, 500, cost=0.00123456), "1 x 123456"),
    *chat("xAI's chat", "grok-4-0709", tokens(1_000, 500, cached=200),
          "800 x 300 + 200 x 75 + 500 x 1500", place=X_AI, page=_X_AI_PAGE),
    *chat("xAI's thinking outside the completion", "grok-4-0709", _thought(1_000, 500, 300),
          "1000 x 300 + 800 x 1500", place=X_AI, page=_X_AI_PAGE),
    *chat("xAI's small cached thinking", "grok-3-mini", _thought(1_000, 20, 300, cached=128),
          "872 x 30 + 128 x 7.5 + 320 x 50", place=X_AI, page=_X_AI_PAGE),
    *chat("Mistral's chat", "mistral-large-2512", bare_tokens(1_000, 500),
          "1000 x 50 + 500 x 150", place=MISTRAL, page=_MISTRAL_PAGE),
    *chat("Mistral's cached chat", "mistral-large-2512",
          bare_tokens(1_000, 500, num_cached_tokens=640), "360 x 50 + 640 x 5 + 500 x 150",
          place=MISTRAL, page=_MISTRAL_PAGE),
    *chat("Moonshot's chat", "kimi-k2-0905-preview", bare_tokens(1_000, 500),
          "1000 x 60 + 500 x 250", place=MOONSHOT, page=_MOONSHOT_PAGE),
    *chat("Moonshot's cached chat", "kimi-k2-thinking",
          bare_tokens(1_000, 500, cached_tokens=512), "488 x 60 + 512 x 15 + 500 x 250",
          place=MOONSHOT, page=_MOONSHOT_PAGE),
    *chat("Gemini's thinking outside the completion", "gemini-2.5-flash",
          {**bare_tokens(1_000, 500), "total_tokens": 1_900},
          "1000 x 30 + 900 x 250", place=GOOGLE, page=_GOOGLE_PAGE),
    *chat("Gemini's chat of long context", "gemini-2.5-pro", bare_tokens(200_001, 500),
          "200001 x 250 + 500 x 1500", place=GOOGLE, page=_GOOGLE_PAGE),
    *chat("Together's chat", "meta-llama/Llama-3.3-70B-Instruct-Turbo", bare_tokens(1_000, 500),
          "1500 x 88", place=TOGETHER, page=_TOGETHER_PAGE),
    *chat("Fireworks' cached chat", "accounts/fireworks/models/deepseek-v3p2",
          tokens(1_000, 500, cached=100), "900 x 56 + 100 x 28 + 500 x 168",
          place=FIREWORKS, page=_FIREWORKS_PAGE),
    # $12 a thousand requests with the largest context of searches.
    *chat("Perplexity's chat with its search", "sonar",
          bare_tokens(1_000, 500, cost={"request_cost": 0.012, "total_cost": 0.0135}),
          "1000 x 100 + 500 x 100 + 1 x 1200000", place=PERPLEXITY, page=_PERPLEXITY_PAGE,
          asks={"web_search_options": {"search_context_size": "high"}}),
    *chat("Cerebras' chat", "gpt-oss-120b", bare_tokens(1_000, 500), "1000 x 35 + 500 x 75",
          place=CEREBRAS, page=_CEREBRAS_PAGE),
    *chat("Bedrock's chat", "openai.gpt-oss-120b-1:0", bare_tokens(1_000, 500),
          "1000 x 15 + 500 x 60", place=BEDROCK_OPENAI, page=BEDROCK_PRICING),
    *_unknown("chat of a model that nobody knows", "acme-9-ultra", OPENAI),
    *_unknown("DeepSeek's chat of a model that nobody knows", "shallowseek-1", DEEPSEEK),
    *_unknown("chat of a model with a known name's beginning", "gpt-4o-nano-2", OPENAI),
]  # fmt: skip
