"""A real OpenAI client whose answers come from memory: the same for every contestant.

`request()` is what is replaced. Above it everything is the package's own work: `create()` checks its
arguments, makes the body and the options. Below it nothing happens: no HTTP, no JSON. What
`request()` returns are some of many different answers, parsed by the package before; a stream is
the package's own `Stream` over chunks that were parsed before. Runs in any contestant's environment.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import openai
from openai._models import construct_type
from openai.types.chat import ChatCompletion, ChatCompletionChunk

MODEL: Final = "gpt-4o"
# A sink that counts events leaves out those of the next process.
NEXT_MODEL: Final = "gpt-4o-next-process"
# Short: the package's own work grows with every message, and with it the noise around ours.
MESSAGES: Final[Any] = [{"role": "user", "content": "What is the capital of France?"}]
_USAGE: Final = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"cached_tokens": 100, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_REQUEST: Final = httpx2.Request("POST", "http://127.0.0.1:1/chat/completions")


def _answer(number: int, model: str) -> Any:
    # The mark that the sink counts: in the identifier and, for contestants without it, in the text.
    mark = f"chatcmpl-{number:08}"
    message = {"role": "assistant", "content": f"Paris, since 987 or so. {mark}", "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    answer = {
        "id": mark,
        "object": "chat.completion",
        "created": 1_790_000_000 + number,
        "model": f"{model}-2024-08-06",
        "choices": [choice],
        "usage": _USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_benchmark",
    }
    return construct_type(type_=ChatCompletion, value=answer)


@functools.cache
def _chunks(length: int) -> list[Any]:
    mark = "chatcmpl-99999999"
    common = {"id": mark, "object": "chat.completion.chunk", "created": 1}
    texts = [f"{mark} ", *(f"word{number} " for number in range(1, length))]
    parts: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        for text in texts
    ]
    parts.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    parts.append({"choices": [], "usage": _USAGE})
    return [
        construct_type(type_=ChatCompletionChunk, value={**common, "model": MODEL, **part})
        for part in parts
    ]


class Answering:
    """Put before a client class: what it asks is answered here."""

    answers: Iterator[Any] = iter(())
    chunks: list[Any] = []

    def request(
        self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None
    ) -> Any:
        if not stream:
            return next(Answering.answers)
        response = httpx2.Response(200, request=_REQUEST)
        return stream_cls(cast_to=cast_to, response=response, client=self, options=options)


def ready_made(stream: Any) -> Iterator[Any]:
    """The chunks of any stream, of either package: to be put in place of its `__stream__`."""
    yield from Answering.chunks
    stream.response.close()


def prepare(answers: int, model: str = MODEL) -> None:
    """Make so many different answers, and let every stream be made of ready chunks."""
    made = [_answer(number, model) for number in range(answers)]
    Answering.answers = itertools.cycle(made)
    stream: Any = openai.Stream
    stream.__stream__ = ready_made


def stream_length(length: int) -> None:
    """Say how many chunks of text a stream has from now on."""
    Answering.chunks = _chunks(length)


def new_client(base: type[Any] = openai.OpenAI, **arguments: Any) -> Any:
    """A client of this class that makes no requests."""
    answering = type(f"Answering{base.__name__}", (Answering, base), {})
    return answering(api_key="benchmark", base_url="http://127.0.0.1:1", **arguments)
