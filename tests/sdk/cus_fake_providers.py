"""A local server that speaks OpenAI's and Anthropic's protocols, as far as calls go.

What it does is said by the model's name (`/`-separated words after it): `gpt-4o/slow` sends its
stream with pauses, `/broken` hangs up in the middle, `/fails` answers 500 twice and then as usual,
`/refused` answers 429, `/silent` never answers.
"""

import base64
import json
import re
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.cus_local_server import CusLocalServer
from tests.sdk.cus_fake_servers import cus_chat_completion

WORDS = ["The ", "quick ", "brown ", "fox ", "jumps."]
TEXT = "".join(WORDS)
PAUSE_SECONDS = 0.02
CHAT_USAGE: dict[str, Any] = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 0},
}
RESPONSE_USAGE: dict[str, Any] = {
    "input_tokens": 1_000,
    "output_tokens": 500,
    "total_tokens": 1_500,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 100},
}
MESSAGE_USAGE = {
    "input_tokens": 800,
    "output_tokens": 500,
    "cache_read_input_tokens": 200,
    "cache_creation_input_tokens": 0,
    "service_tier": "standard",
}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ada"}}
BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0},
    "created_at": "2026-11-22T10:00:00Z",
    "ended_at": "2026-11-22T11:00:00Z",
    "expires_at": "2026-11-23T10:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
}

Event = tuple[str | None, Any]


class CusFakeProvider(CusLocalServer):
    """The two providers in one; `requests` holds path and body of each request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.attempts: Counter[str] = Counter()
        self.released = threading.Event()
        super().__init__(type("Handler", (_Handler,), {"fake": self}))

    def __exit__(self, *error: object) -> None:
        self.released.set()
        super().__exit__(*error)


class _Handler(BaseHTTPRequestHandler):
    fake: CusFakeProvider
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, else each answer waits 40 ms for an ACK

    def do_GET(self) -> None:
        if self.path.endswith("/results"):
            self.send_lines(_batch_lines())
            return
        url = f"{self.fake.url}/v1/messages/batches/msgbatch_1/results"
        self.send_json(200, {**BATCH, "results_url": url})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        is_json = "json" in self.headers["Content-Type"]
        body = json.loads(raw) if is_json else _form(raw)
        self.fake.requests.append((self.path, body))
        model = body.get("model") or self.path.split("/model/")[-1].split("/")[0]
        model, _, mood = model.partition("/")
        if not self.is_refused(mood, str(body)):
            self.answer(model, mood, body)

    def is_refused(self, mood: str, key: str) -> bool:
        self.fake.attempts[key] += 1
        if mood == "silent":
            self.fake.released.wait(20)
            self.close_connection = True
            return True
        if mood == "refused" or (mood == "fails" and self.fake.attempts[key] <= 2):
            error = {"message": "no: sk-proj-abcdef123456", "type": "x", "code": None}
            status = 429 if mood == "refused" else 500
            self.send_json(status, {"type": "error", "error": error})
            return True
        return False

    def answer(self, model: str, mood: str, body: Any) -> None:
        if body.get("stream"):
            self.send_events(_events(self.path, model, body), mood)
        elif self.path.endswith("-response-stream"):
            frames = (_aws_frame(data) for _, data in _message_events(model, body))
            self.send_bytes(200, "application/vnd.amazon.eventstream", b"".join(frames))
        elif self.path.endswith("/audio/speech"):
            self.send_bytes(200, "audio/mpeg", b"ID3 not much of a song")
        else:
            self.send_json(200, _document(self.path, model, body))

    def send_json(self, status: int, document: Any) -> None:
        self.send_bytes(status, "application/json", json.dumps(document).encode())

    def send_lines(self, lines: list[Any]) -> None:
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        self.send_bytes(200, "application/x-jsonl", text.encode())

    def send_bytes(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("retry-after-ms", "5")
        self.end_headers()
        self.wfile.write(content)

    def send_events(self, events: Iterator[Event], mood: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for index, (name, data) in enumerate(events):
            if mood == "broken" and index == 3:
                self.close_connection = True
                return
            self.send_event(name, data)
            if mood == "slow" or (mood == "endless" and index == 3):
                self.fake.released.wait(20 if mood == "endless" else PAUSE_SECONDS)
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def send_event(self, name: str | None, data: Any) -> None:
        head = f"event: {name}\n" if name else ""
        text = data if isinstance(data, str) else json.dumps(data)
        event = f"{head}data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


def _form(raw: bytes) -> dict[str, Any]:
    """The short fields of a form, as they would be in JSON."""
    fields = re.findall(rb'name="(\w+)"\r\n\r\n([^\r]*)\r\n', raw)
    form: dict[str, Any] = {name.decode(): value.decode() for name, value in fields}
    return {**form, "stream": form.get("stream") == "true"}


def _document(path: str, model: str, body: Any) -> Any:
    if path.endswith("/chat/completions"):
        return _chat(model)
    if path.endswith("/responses"):
        return _response(model, RESPONSE_USAGE)
    if path.endswith("/completions"):
        choice = {"index": 0, "text": TEXT, "finish_reason": "stop", "logprobs": None}
        return {**_head(model, "text_completion"), "choices": [choice], "usage": CHAT_USAGE}
    if path.endswith("/embeddings"):
        counted = {"prompt_tokens": 1_000, "total_tokens": 1_000}
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        return {"object": "list", "model": model, "data": data, "usage": counted}
    if "/images/" in path:
        details = {"text_tokens": 1_000, "image_tokens": 0}
        usage: dict[str, Any] = {**RESPONSE_USAGE, "input_tokens_details": details}
        return {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": usage}
    if path.endswith("/audio/translations"):
        return {"text": TEXT}  # whisper's, which is billed by the second: no usage
    if "/audio/" in path:
        details = {"text_tokens": 0, "audio_tokens": 1_000}
        counts: dict[str, Any] = {
            "input_tokens": 1_000,
            "output_tokens": 500,
            "total_tokens": 1_500,
        }
        usage = {**counts, "type": "tokens", "input_token_details": details}
        return {"text": TEXT, "usage": usage}
    asks = {"content": [TOOL_USE], "stop_reason": "tool_use"}
    return _message(model, **(asks if _wants_a_tool(body) else {}))


def _wants_a_tool(body: Any) -> bool:
    """Whether a model that was given tools has not heard of a result yet: it asks for one, then."""
    return bool(body.get("tools")) and "tool_result" not in str(body["messages"])


def _aws_frame(event: Any) -> bytes:
    """An event as Bedrock frames it."""
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    about = {
        b":event-type": b"chunk",
        b":content-type": b"application/json",
        b":message-type": b"event",
    }
    headers = b"".join(
        struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name, 7, len(value), value)
        for name, value in about.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": "x-1", "object": kind, "created": 1, "model": model}


def _chat(model: str) -> Any:
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return cus_chat_completion(model=model, usage=CHAT_USAGE, choices=[choice])


def _response(model: str, usage: Any, status: str = "completed") -> dict[str, Any]:
    text = {"type": "output_text", "text": TEXT, "annotations": []}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [text],
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": model,
        "output": [message] if usage else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": usage,
    }


def _message(model: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": MESSAGE_USAGE,
        **changes,
    }


def _batch_lines() -> list[Any]:
    usage = {**MESSAGE_USAGE, "service_tier": "batch"}
    message = _message("claude-sonnet-4", usage=usage)
    succeeded = [
        {"custom_id": name, "result": {"type": "succeeded", "message": message}} for name in "ab"
    ]
    error = {"type": "error", "error": {"type": "api_error", "message": "no"}}
    return [*succeeded, {"custom_id": "c", "result": {"type": "errored", "error": error}}]


def _events(path: str, model: str, body: Any) -> Iterator[Event]:
    if path.endswith("/chat/completions"):
        return _chat_events(model, body, "chat.completion.chunk")
    if path.endswith("/responses"):
        return _response_events(model)
    if "/images/" in path:
        return _image_events()
    if "/audio/" in path:
        return _transcript_events()
    if path.endswith("/completions"):
        return _chat_events(model, body, "text_completion")
    return _message_events(model, body)


def _chat_events(model: str, body: Any, kind: str) -> Iterator[Event]:
    # Asked for usage, OpenAI sends null with each chunk, and one more chunk with nothing else.
    asked = (body.get("stream_options") or {}).get("include_usage")
    extra = {"usage": None} if asked else {}
    for word in WORDS:
        choice: dict[str, Any] = {"index": 0, "finish_reason": None, "logprobs": None}
        if kind == "text_completion":
            choice["text"] = word
        else:
            choice["delta"] = {"role": "assistant", "content": word}
        yield None, {**_head(model, kind), "choices": [choice], **extra}
    if kind != "text_completion":
        end = {"index": 0, "delta": {}, "finish_reason": "stop", "logprobs": None}
        yield None, {**_head(model, kind), "choices": [end], **extra}
    if asked:
        yield None, {**_head(model, kind), "choices": [], "usage": CHAT_USAGE}
    yield None, "[DONE]"


def _response_events(model: str) -> Iterator[Event]:
    number = iter(range(1_000))

    def event(kind: str, **fields: Any) -> Event:
        return kind, {"type": kind, "sequence_number": next(number), **fields}

    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress"}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield event("response.created", response=_response(model, None, "in_progress"))
    yield event("response.output_item.added", output_index=0, item={**item, "content": []})
    yield event("response.content_part.added", **where, part=part)
    for word in WORDS:
        yield event("response.output_text.delta", **where, delta=word, logprobs=[])
    yield event("response.output_text.done", **where, text=TEXT, logprobs=[])
    yield event("response.completed", response=_response(model, RESPONSE_USAGE))


def _image_events() -> Iterator[Event]:
    about = {
        "b64_json": "AAAA",
        "background": "opaque",
        "created_at": 1,
        "output_format": "png",
        "quality": "low",
        "size": "1024x1024",
    }
    part = "image_generation.partial_image"
    yield part, {"type": part, "partial_image_index": 0, **about}
    usage = _document("/images/", "", {})["usage"]
    done = "image_generation.completed"
    yield done, {"type": done, "usage": usage, **about}


def _transcript_events() -> Iterator[Event]:
    for word in WORDS:
        yield None, {"type": "transcript.text.delta", "delta": word}
    usage = _document("/audio/transcriptions", "", {})["usage"]
    yield None, {"type": "transcript.text.done", "text": TEXT, "usage": usage}


def _message_events(model: str, body: Any) -> Iterator[Event]:
    begun = _message(
        model, content=[], stop_reason=None, usage={**MESSAGE_USAGE, "output_tokens": 1}
    )

    def event(kind: str, **fields: Any) -> Event:
        return kind, {"type": kind, **fields}

    yield event("message_start", message=begun)
    if _wants_a_tool(body):
        yield event("content_block_start", index=0, content_block={**TOOL_USE, "input": {}})
        said = {"type": "input_json_delta", "partial_json": json.dumps(TOOL_USE["input"])}
        yield event("content_block_delta", index=0, delta=said)
        yield event("content_block_stop", index=0)
        delta = {"stop_reason": "tool_use", "stop_sequence": None}
        yield event("message_delta", delta=delta, usage={"output_tokens": 500})
        yield event("message_stop")
        return
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for word in WORDS:
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
    yield event("content_block_stop", index=0)
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": 500})
    yield event("message_stop")
