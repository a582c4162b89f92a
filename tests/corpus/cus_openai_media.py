"""Embeddings, images, speech, transcripts and batches of OpenAI's."""

from dataclasses import replace
from typing import Any, Final

from tests.corpus.cus_calls import PROMPT, TEXT, UNMEASURED, UNPRICED, Call, Events, Lines
from tests.corpus.cus_openai_shapes import (
    completion,
    response,
    sent_and_made,
    single,
    tokens,
)
from tests.corpus.cus_places import OPENAI, OPENAI_BATCH, OPENAI_DEPRECATIONS


def _embedding(model: str, bills: str, count: int = 1_000) -> Call:
    usage = {"prompt_tokens": count, "total_tokens": count}
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    answer = {"object": "list", "model": model, "data": data, "usage": usage}
    asks = {"model": model, "input": PROMPT, "encoding_format": "float"}
    return single(f"{count} tokens in {model}", "embeddings.create", asks, answer, bills)


def _image_usage(text: int, image: int, made: int, written: int = 0) -> dict[str, Any]:
    usage = {
        "input_tokens": text + image,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
        "output_tokens": made + written,
        "total_tokens": text + image + made + written,
    }
    if written:
        usage["output_tokens_details"] = {"image_tokens": made, "text_tokens": written}
    return usage


def _image(usage: Any, model: str, bills: str, path: str = "images.generate") -> list[Call]:
    """An image, whole and streamed."""
    about: dict[str, Any] = {
        "background": "opaque",
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
    }
    answer = {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": usage, **about}
    done = {"type": f"image_{'edit' if 'edit' in path else 'generation'}.completed"}
    told = Events(({**done, "b64_json": "AAAA", "created_at": 1, "usage": usage, **about},))
    asks: dict[str, Any] = {"model": model, "prompt": PROMPT}
    if "edit" in path:
        asks["image"] = b"PNG"
    name = f"{path} with {model}"
    plain = single(name, path, asks, answer, bills)
    stream = single(f"{name}, streamed", path, {**asks, "stream": True}, told, bills)
    return [replace(plain, pair=name), replace(stream, pair=name)]


def _old_image(model: str, **asks: Any) -> Call:
    """An image of a model that tells no usage, and that OpenAI has no price of any more."""
    answer = {"created": 1, "data": [{"url": "https://example.com/1.png"}]}
    asked = {"model": model, "prompt": PROMPT, **asks}
    path, page = "images.generate", OPENAI_DEPRECATIONS
    return single(f"image of {model}", path, asked, answer, UNPRICED, page=page, is_silent=True)


def _speech(model: str, bills: str, characters: int = 43) -> Call:
    asks = {"model": model, "voice": "alloy", "input": "o" * characters}
    return single(f"speech of {model}", "audio.speech.create", asks, b"ID3 a song", bills)


def _transcript(name: str, model: str, answer: Any, bills: str, **asks: Any) -> Call:
    asked = {"model": model, "file": ("a.wav", b"RIFF"), **asks}
    return single(name, "audio.transcriptions.create", asked, answer, bills)


def _heard(audio: int, text: int, made: int) -> dict[str, Any]:
    return {
        "type": "tokens",
        "input_tokens": audio + text,
        "input_token_details": {"audio_tokens": audio, "text_tokens": text},
        "output_tokens": made,
        "total_tokens": audio + text + made,
    }


def _transcript_events(usage: Any) -> Events:
    delta = {"type": "transcript.text.delta", "delta": TEXT}
    return Events((delta, {"type": "transcript.text.done", "text": TEXT, "usage": usage}))


def _batch(name: str, endpoint: str, bodies: list[Any], bills: str, model: str) -> Call:
    """The results of a batch, one call a line, read by the batch's output file."""
    batch = {
        "id": f"batch_{name.split()[0]}",
        "object": "batch",
        "endpoint": endpoint,
        "input_file_id": "file-in",
        "output_file_id": f"file-{name.split()[0]}",
        "completion_window": "24h",
        "status": "completed",
        "created_at": 1_795_000_000,
        "request_counts": {"total": len(bodies), "completed": len(bodies), "failed": 0},
    }
    lines = [
        {
            "id": f"batch_req_{name.split()[0]}{number}",
            "custom_id": f"line-{number}",
            "response": {"status_code": 200, "request_id": f"r{number}", "body": body},
            "error": None,
        }
        for number, body in enumerate(bodies)
    ]
    steps = (
        ("batches.retrieve", {"batch_id": batch["id"]}),
        ("files.content", {"file_id": batch["output_file_id"]}),
    )
    return Call(name, OPENAI, steps, (batch, Lines(tuple(lines))), model, bills, OPENAI_BATCH)


_WHISPERED: Final = {"type": "duration", "seconds": 61}
_EMBEDDED: Final = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [],
    "usage": {"prompt_tokens": 1_000, "total_tokens": 1_000},
}

CALLS: Final[list[Call]] = [
    _embedding("text-embedding-3-small", "1000 x 2"),
    _embedding("text-embedding-3-large", "1000 x 13"),
    _embedding("text-embedding-ada-002", "7 x 10", count=7),
    *_image(_image_usage(50, 0, 1_056), "gpt-image-1", "50 x 500 + 1056 x 4000"),
    *_image(_image_usage(50, 0, 272), "gpt-image-1-mini", "50 x 200 + 272 x 800"),
    *_image(_image_usage(50, 400, 1_056, written=30), "gpt-image-1.5",
            "50 x 500 + 400 x 800 + 1056 x 3200 + 30 x 1000", path="images.edit"),
    # Shut down on 2026-05-12: no page has a price of them any more.
    _old_image("dall-e-3", size="1024x1024", quality="standard"),
    _old_image("dall-e-2", size="1024x1024"),
    _speech("tts-1", "43 x 1500"),
    _speech("tts-1-hd", "43 x 3000"),
    _speech("gpt-4o-mini-tts", UNMEASURED),
    _transcript("transcript by the second", "whisper-1",
                {"text": TEXT, "usage": _WHISPERED}, "61 x 10000"),
    _transcript("wordy transcript by the second", "whisper-1",
                {"text": TEXT, "language": "en", "duration": 60.9, "usage": _WHISPERED},
                "61 x 10000", response_format="verbose_json"),
    _transcript("transcript by tokens", "gpt-4o-transcribe",
                {"text": TEXT, "usage": _heard(1_000, 20, 100)},
                "1000 x 600 + 20 x 250 + 100 x 1000"),
    _transcript("transcript by tokens, streamed", "gpt-4o-transcribe",
                _transcript_events(_heard(1_000, 20, 100)),
                "1000 x 600 + 20 x 250 + 100 x 1000", stream=True),
    _transcript("transcript of a small model", "gpt-4o-mini-transcribe",
                {"text": TEXT, "usage": _heard(1_000, 0, 100)}, "1000 x 300 + 100 x 500"),
    _transcript("transcript as text", "whisper-1", TEXT, UNMEASURED, response_format="text"),
    _transcript("transcript as subtitles", "whisper-1", TEXT, UNMEASURED, response_format="srt"),
    single("translation", "audio.translations.create",
           {"model": "whisper-1", "file": ("a.wav", b"RIFF")}, {"text": TEXT}, UNMEASURED),
    _batch("chats of a batch", "/v1/chat/completions",
           [completion("gpt-4o-mini", tokens(1_000, 500)) for _ in range(2)],
           "2000 x 7.5 + 1000 x 30", "gpt-4o-mini"),
    _batch("responses of a batch", "/v1/responses",
           [response("gpt-5", sent_and_made(1_000, 500, cached=200, reasoning=64))],
           "800 x 62.5 + 200 x 6.25 + 500 x 500", "gpt-5"),
    _batch("embeddings of a batch", "/v1/embeddings", [_EMBEDDED], "1000 x 1",
           "text-embedding-3-small"),
]  # fmt: skip
