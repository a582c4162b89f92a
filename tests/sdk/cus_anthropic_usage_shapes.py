"""Answers that Anthropic's package defines, with the tokens and the sum that Anthropic bills for them."""

import anthropic.types as at
import anthropic.types.beta as ab
from anthropic.types.messages import MessageBatchIndividualResponse

from tests.sdk.cus_openai_usage_shapes import SEARCH_COST, Shape

MESSAGE_USAGE = {
    "input_tokens": 100,
    "output_tokens": 500,
    "cache_read_input_tokens": 600,
    "cache_creation_input_tokens": 300,
    "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
    "output_tokens_details": {"thinking_tokens": 120},
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "service_tier": "standard",
}
MESSAGE_TOKENS = {
    "tokens_in": 1_000,
    "tokens_out": 500,
    "tokens_cached": 600,
    "tokens_cache_write": 300,
    "tokens_cache_write_1h": 100,
    "tokens_reasoning": 120,
}
# claude-sonnet-4: $3, read 0.30, written 3.75 and 6, out $15.
MESSAGE_COST = 100 * 300 + 600 * 30 + 200 * 375 + 100 * 600 + 500 * 1_500
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "content": []}
WRITTEN = {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


ANTHROPIC_SHAPES: dict[str, Shape] = {
    "message": (
        at.Message,
        "claude-sonnet-4",
        {**MESSAGE, "usage": MESSAGE_USAGE},
        MESSAGE_TOKENS,
        {"searches": 2, "fetches": 1},
        "standard",
        MESSAGE_COST + 2 * SEARCH_COST,
    ),
    "message without a breakdown of its cache": (
        at.Message,
        "claude-sonnet-4",
        {**MESSAGE, "usage": {"input_tokens": 100, "output_tokens": 5, **WRITTEN}},
        {"tokens_in": 100, "tokens_out": 5},
        None,
        None,
        100 * 300 + 5 * 1_500,
    ),
    "message in fast mode in the US": (
        at.Message,
        "claude-opus-5",
        {
            **MESSAGE,
            "usage": {
                "input_tokens": 100,
                "output_tokens": 10,
                "speed": "fast",
                "inference_geo": "us",
                "service_tier": "standard",
            },
        },
        {"tokens_in": 100, "tokens_out": 10},
        None,
        "fast_us",
        (100 * 500 + 10 * 2_500) * 22 // 10,
    ),
    "line of a batch": (
        MessageBatchIndividualResponse,
        "claude-sonnet-4",
        {
            "custom_id": "1",
            "result": {
                "type": "succeeded",
                "message": {
                    **MESSAGE,
                    "usage": {"input_tokens": 100, "output_tokens": 10, "service_tier": "batch"},
                },
            },
        },
        {"tokens_in": 100, "tokens_out": 10},
        None,
        "batch",
        (100 * 300 + 10 * 1_500) // 2,
    ),
    "beta message with a compaction and an advisor": (
        ab.BetaMessage,
        "claude-sonnet-4",
        {
            **MESSAGE,
            "usage": {
                "input_tokens": 100,
                "output_tokens": 10,
                **WRITTEN,
                "iterations": [
                    {"type": "compaction", "input_tokens": 50, "output_tokens": 20, **WRITTEN},
                    {"type": "message", "input_tokens": 100, "output_tokens": 10, **WRITTEN},
                    {
                        "type": "advisor_message",
                        "model": "claude-opus-4-6",
                        "input_tokens": 7,
                        "output_tokens": 3,
                        **WRITTEN,
                    },
                ],
            },
        },
        {"tokens_in": 157, "tokens_out": 33},
        None,
        None,
        150 * 300 + 30 * 1_500 + 7 * 500 + 3 * 2_500,
    ),
    "start of a message": (
        at.RawMessageStartEvent,
        "claude-sonnet-4",
        {"type": "message_start", "message": {**MESSAGE, "usage": MESSAGE_USAGE}},
        MESSAGE_TOKENS,
        {"searches": 2, "fetches": 1},
        "standard",
        MESSAGE_COST + 2 * SEARCH_COST,
    ),
}
