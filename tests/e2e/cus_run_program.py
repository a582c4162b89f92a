"""A customer's program with a budget in code: `python -m tests.e2e.cus_run_program '{…}'`.

It makes its calls one after the other, each of $0.18, in a session that other processes may name,
too, and prints how many ran. With `rounds`, it then waits for a line, and makes its calls again. Its
provider answers in memory.
"""

import json
import sys
from typing import Any, Final

import httpx2
import openai

from aos_sdk import (
    CusLimitExceeded,
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


def run(options: dict[str, Any]) -> None:
    """Print for each round how many of the calls ran."""
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
    with cus_context(session_id=options["session"], budget_cents=options["budget_cents"]):
        for round_ in range(options.get("rounds", 1)):
            if round_:
                sys.stdin.readline()
            ran = sum(_runs(client) for _ in range(options["calls"]))
            print(ran, flush=True)  # noqa: T201 - the test reads it
    cus_shutdown(30.0)


def _runs(client: openai.OpenAI) -> bool:
    """Whether a call was let run."""
    messages: Any = [{"role": "user", "content": PROMPT}]
    try:
        client.chat.completions.create(model=MODEL, messages=messages, max_tokens=TOKENS_OUT)
    except CusLimitExceeded:
        return False
    return True


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
