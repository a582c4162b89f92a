"""A customer's program with a budget in code: `python -m tests.e2e.cus_run_program '{…}'`.

It makes its calls one after the other, each of $0.18, in a session that other processes may name,
too, and prints how many ran. Its provider answers in memory.
"""

import json
import sys
from typing import Any, Final

import httpx2
import openai

from aos_sdk import (
    CusBlocked,
    cus_configure,
    cus_context,
    cus_install_middleware,
    cus_shutdown,
)

MODEL: Final = "gpt-4o"
COST_CENTS: Final = 18
TOKENS_IN, TOKENS_OUT = 6_464, 16_384
# Of so many bytes: the call's bound is $0.19.
PROMPT: Final = "a" * 7_500


def answer(_request: httpx2.Request) -> httpx2.Response:
    """The provider's answer, of $0.18."""
    usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT}
    message = {"role": "assistant", "content": "Hello."}
    return httpx2.Response(
        200,
        json={
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": MODEL,
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": usage | {"total_tokens": TOKENS_IN + TOKENS_OUT},
        },
    )


def run(options: dict[str, Any]) -> int:
    """How many of the calls ran."""
    cus_configure(
        options["key"],
        options["url"],
        spool_dir=options["spool"],
        batch_interval=0.05,
        enforce=options["enforce"],
        contention_seconds=60.0,
    )
    cus_install_middleware()
    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = openai.OpenAI(api_key="k", base_url="https://api.openai.com/v1", http_client=transport)
    messages: Any = [{"role": "user", "content": PROMPT}]
    ran = 0
    with cus_context(session_id=options["session"], budget_cents=options["budget_cents"]):
        for _ in range(options["calls"]):
            try:
                client.chat.completions.create(
                    model=MODEL, messages=messages, max_tokens=TOKENS_OUT
                )
            except CusBlocked:
                continue
            ran += 1
    cus_shutdown(30.0)
    return ran


if __name__ == "__main__":
    sys.stdout.write(f"{run(json.loads(sys.argv[1]))}\n")
