"""Answers that OpenAI's package defines, with the tokens and the sum that OpenAI bills for them."""

from typing import Any

import openai.types as ot
import openai.types.audio as oa
import openai.types.chat as oc
import openai.types.responses as orr
from openai.types.beta import BetaResponse
from openai.types.decision import Decision
from openai.types.realtime import RealtimeResponse

# Type, model, JSON, the tokens expected (others 0), units, tier, microcents.
Shape = tuple[Any, str, dict[str, Any], dict[str, Any], dict[str, int] | None, str | None, int]


SEARCH_COST = 1_000_000  # $10 a thousand


def _openai_usage(**details: Any) -> dict[str, Any]:
    return {"input_tokens": 1_000, "output_tokens": 500, "total_tokens": 1_500, **details}


CHAT_USAGE = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 600, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 200, "rejected_prediction_tokens": 10},
}
CHAT_TOKENS = {
    "tokens_in": 1_000,
    "tokens_out": 500,
    "tokens_cached": 600,
    "tokens_reasoning": 200,
    "tokens_total": 1_500,
}
RESPONSE_USAGE = _openai_usage(
    input_tokens_details={
        "cached_tokens": 300,
        "cache_write_tokens": 200,
        "cache_write_tokens_details": {"ttl_12h_tokens": 50, "ttl_30m_tokens": 150},
    },
    output_tokens_details={"reasoning_tokens": 400},
)
RESPONSE_TOKENS = {
    "tokens_in": 1_000,
    "tokens_out": 500,
    "tokens_cached": 300,
    "tokens_cache_write": 200,
    "tokens_cache_write_1h": 50,
    "tokens_reasoning": 400,
    "tokens_total": 1_500,
}
# 500 plain, 300 cached, 150 + 50 written, 500 out, at gpt-6.1-terra's $1 (0.05, 1.25, 2.50), $5.
RESPONSE_COST = 500 * 100 + 300 * 5 + 150 * 125 + 50 * 250 + 500 * 500
IMAGE_USAGE = _openai_usage(
    input_tokens_details={"image_tokens": 800, "text_tokens": 200},
    output_tokens_details={"image_tokens": 450, "text_tokens": 50},
)


def chat_json(model: str, usage: Any, **more: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion", "model": model, "usage": usage, **more}


def response_json(model: str, **more: Any) -> dict[str, Any]:
    return {"id": "r", "object": "response", "model": model, "output": [], **more}


OPENAI_SHAPES: dict[str, Shape] = {
    "chat completion": (
        oc.ChatCompletion,
        "gpt-5",
        chat_json("gpt-5", CHAT_USAGE, service_tier="default"),
        CHAT_TOKENS,
        None,
        "default",
        400 * 125 + 600 * 125 // 10 + 500 * 1_000,
    ),
    "chat completion on the flex tier": (
        oc.ChatCompletion,
        "gpt-5",
        chat_json("gpt-5", CHAT_USAGE, service_tier="flex"),
        CHAT_TOKENS,
        None,
        "flex",
        (400 * 125 + 600 * 125 // 10 + 500 * 1_000) // 2,
    ),
    "chat completion with audio": (
        oc.ChatCompletion,
        "gpt-audio",
        chat_json(
            "gpt-audio",
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 500,
                "total_tokens": 1_500,
                "prompt_tokens_details": {"audio_tokens": 700, "text_tokens": 300},
                "completion_tokens_details": {"audio_tokens": 400, "text_tokens": 100},
            },
        ),
        {
            "tokens_in": 1_000,
            "tokens_out": 500,
            "tokens_audio_in": 700,
            "tokens_audio_out": 400,
            "tokens_total": 1_500,
        },
        None,
        None,
        300 * 250 + 700 * 3_200 + 100 * 1_000 + 400 * 6_400,
    ),
    "last chunk of a chat completion": (
        oc.ChatCompletionChunk,
        "gpt-5",
        {**chat_json("gpt-5", CHAT_USAGE), "object": "chat.completion.chunk", "choices": []},
        CHAT_TOKENS,
        None,
        None,
        400 * 125 + 600 * 125 // 10 + 500 * 1_000,
    ),
    "completion": (
        ot.Completion,
        "gpt-3.5-turbo-instruct",
        chat_json("x", {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 1_500}),
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_total": 1_500},
        None,
        None,
        1_000 * 150 + 500 * 200,
    ),
    "embedding": (
        ot.CreateEmbeddingResponse,
        "text-embedding-3-small",
        {"data": [], "object": "list", "usage": {"prompt_tokens": 1_000, "total_tokens": 1_000}},
        {"tokens_in": 1_000, "tokens_total": 1_000},
        None,
        None,
        1_000 * 2,
    ),
    "response": (
        orr.Response,
        "gpt-6.1-terra",
        response_json("gpt-6.1-terra", usage=RESPONSE_USAGE, service_tier="default"),
        RESPONSE_TOKENS,
        None,
        "default",
        RESPONSE_COST,
    ),
    "response with hosted tools": (
        orr.Response,
        "gpt-6.1-terra",
        response_json(
            "gpt-6.1-terra",
            usage=RESPONSE_USAGE,
            output=[
                {"type": "file_search_call", "id": "f", "queries": [], "status": "completed"},
                {"type": "message", "id": "m", "content": [], "role": "assistant"},
                {"type": "image_generation_call", "id": "i", "svg_usage": {"total_tokens": 9}},
            ],
            tool_usage={
                "web_search": {"num_requests": 3},
                "image_gen": {**IMAGE_USAGE, "total_tokens": 77},
            },
            tools=[{"type": "web_search"}],
        ),
        RESPONSE_TOKENS,
        {"searches": 3, "file_searches": 1, "image_tool_tokens": 77, "svg_tokens": 9},
        None,
        RESPONSE_COST + 3 * SEARCH_COST + SEARCH_COST // 4,
    ),
    "response of an older API that only lists its searches": (
        orr.Response,
        "gpt-6.1-terra",
        response_json(
            "gpt-6.1-terra",
            usage=RESPONSE_USAGE,
            output=[
                {"type": "web_search_call", "id": "1", "action": {"type": "search"}},
                {"type": "web_search_call", "id": "2", "action": {"type": "open_page"}},
            ],
        ),
        RESPONSE_TOKENS,
        {"searches": 1},
        None,
        RESPONSE_COST + SEARCH_COST,
    ),
    "last event of a response": (
        orr.ResponseCompletedEvent,
        "gpt-6.1-terra",
        {
            "type": "response.completed",
            "response": response_json("x", usage=RESPONSE_USAGE, service_tier="priority"),
        },
        RESPONSE_TOKENS,
        None,
        "priority",
        RESPONSE_COST * 2,
    ),
    "response that broke off": (
        orr.ResponseIncompleteEvent,
        "gpt-6.1-terra",
        {"type": "response.incomplete", "response": response_json("x", usage=RESPONSE_USAGE)},
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "compacted response": (
        orr.CompactedResponse,
        "gpt-6.1-terra",
        {"object": "response.compaction", "usage": RESPONSE_USAGE},
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "beta response": (
        BetaResponse,
        "gpt-6.1-terra",
        response_json("x", usage=RESPONSE_USAGE),
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "decision": (
        Decision,
        "gpt-6.1-terra",
        {"usage": RESPONSE_USAGE},
        RESPONSE_TOKENS,
        None,
        None,
        RESPONSE_COST,
    ),
    "realtime response": (
        RealtimeResponse,
        "gpt-realtime",
        {
            "object": "realtime.response",
            "usage": _openai_usage(
                input_token_details={
                    "audio_tokens": 600,
                    "text_tokens": 400,
                    "cached_tokens": 500,
                    "cached_tokens_details": {"audio_tokens": 300, "text_tokens": 200},
                },
                output_token_details={"audio_tokens": 450, "text_tokens": 50},
            ),
        },
        {
            "tokens_in": 1_000,
            "tokens_out": 500,
            "tokens_cached": 500,
            "tokens_audio_in": 300,
            "tokens_audio_out": 450,
            "tokens_total": 1_500,
        },
        None,
        None,
        200 * 400 + 500 * 40 + 300 * 3_200 + 50 * 1_600 + 450 * 6_400,
    ),
    "finished batch": (
        ot.Batch,
        "gpt-5",
        {
            "object": "batch",
            "usage": _openai_usage(
                input_tokens_details={"cached_tokens": 0},
                output_tokens_details={"reasoning_tokens": 0},
            ),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_total": 1_500},
        None,
        "batch",
        (1_000 * 125 + 500 * 1_000) // 2,
    ),
    "transcription billed by tokens": (
        oa.Transcription,
        "gpt-4o-transcribe",
        {
            "text": "x",
            "usage": _openai_usage(
                type="tokens", input_token_details={"audio_tokens": 900, "text_tokens": 100}
            ),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_audio_in": 900, "tokens_total": 1_500},
        None,
        None,
        100 * 250 + 900 * 600 + 500 * 1_000,
    ),
    "transcription billed by the second": (
        oa.Transcription,
        "whisper-1",
        {"text": "x", "usage": {"type": "duration", "seconds": 59.6}},
        {},
        {"seconds": 60},
        None,
        600_000,
    ),
    "verbose transcription": (
        oa.TranscriptionVerbose,
        "whisper-1",
        {"text": "x", "usage": {"type": "duration", "seconds": 30.0}},
        {},
        {"seconds": 30},
        None,
        300_000,
    ),
    "diarized transcription": (
        oa.TranscriptionDiarized,
        "gpt-4o-transcribe-diarize",
        {"text": "x", "usage": {"type": "duration", "seconds": 10}},
        {},
        {"seconds": 10},
        None,
        100_000,
    ),
    "last event of a transcription": (
        oa.TranscriptionTextDoneEvent,
        "gpt-4o-transcribe",
        {
            "type": "transcript.text.done",
            "usage": _openai_usage(type="tokens", input_token_details={"audio_tokens": 1_000}),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_audio_in": 1_000, "tokens_total": 1_500},
        None,
        None,
        1_000 * 600 + 500 * 1_000,
    ),
    "images": (
        ot.ImagesResponse,
        "gpt-image-1.5",
        {"created": 1, "usage": IMAGE_USAGE, "svg_usage": {"total_tokens": 40}},
        {
            "tokens_in": 1_000,
            "tokens_out": 500,
            "tokens_reasoning": 50,
            "tokens_image_in": 800,
            "tokens_total": 1_500,
        },
        {"svg_tokens": 40},
        None,
        200 * 500 + 800 * 800 + 450 * 3_200 + 50 * 1_000,
    ),
    "last event of an image": (
        ot.ImageGenCompletedEvent,
        "gpt-image-1",
        {
            "type": "image_generation.completed",
            "usage": _openai_usage(input_tokens_details={"image_tokens": 0, "text_tokens": 1_000}),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_total": 1_500},
        None,
        None,
        1_000 * 500 + 500 * 4_000,
    ),
    "last event of an edited image": (
        ot.ImageEditCompletedEvent,
        "gpt-image-1",
        {
            "type": "image_edit.completed",
            "usage": _openai_usage(input_tokens_details={"image_tokens": 900, "text_tokens": 100}),
        },
        {"tokens_in": 1_000, "tokens_out": 500, "tokens_image_in": 900, "tokens_total": 1_500},
        None,
        None,
        100 * 500 + 900 * 1_000 + 500 * 4_000,
    ),
}
