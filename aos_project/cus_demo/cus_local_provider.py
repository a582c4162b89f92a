"""A provider on this machine that speaks OpenAI's chat completions.

The answer to a prompt for `call 17` of the trace has exactly the tokens of that call. The provider
runs as a process of its own, so that it takes no time from the calling program:
`python -m aos_project.cus_demo.cus_local_provider` reads `in,out` lines from its standard
input, up to an empty one, prints its port, and serves until its standard input ends.
"""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import PIPE, Popen
from typing import Any

from aos_project.cus_demo.cus_trace import Trace

_CREATED = 1_700_000_000


def prompt_for(number: int, tokens: int = 0) -> str:
    """The prompt for the call of that number, with at least so many tokens."""
    return f"call {number}" + " and" * tokens


class LocalProvider(ThreadingHTTPServer):
    """Serves a list of (tokens in, tokens out) on a free port of the loopback interface."""

    daemon_threads = True

    def __init__(self, tokens: list[tuple[int, int]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tokens = tokens

    @property
    def base_url(self) -> str:
        """The `base_url` for the `openai` client."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: LocalProvider
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._answer(404, {"error": {"message": f"Unknown path {self.path}"}})
            return
        number = int(body["messages"][-1]["content"].split()[1])
        self._answer(200, _completion(number, body["model"], *self.server.tokens[number]))

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a line for each call would hide the progress bar."""


def _completion(number: int, model: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "ok", "refusal": None},
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
    }


@contextmanager
def serving(trace: Trace) -> Iterator[str]:
    """Run a provider of the trace in a process of its own; yield its base URL."""
    module = __name__ if __name__ != "__main__" else "aos_project.cus_demo.cus_local_provider"
    with Popen([sys.executable, "-m", module], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for call in trace.calls:
            process.stdin.write(f"{call.tokens_in},{call.tokens_out}\n")
        process.stdin.write("\n")
        process.stdin.flush()
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def main() -> None:
    """Serve the calls that standard input lists, until standard input (the parent) ends."""
    tokens = []
    while line := sys.stdin.readline().strip():
        tokens_in, _, tokens_out = line.partition(",")
        tokens.append((int(tokens_in), int(tokens_out)))
    with LocalProvider(tokens) as provider:
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        sys.stdout.write(provider.base_url + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        provider.shutdown()


if __name__ == "__main__":
    main()
