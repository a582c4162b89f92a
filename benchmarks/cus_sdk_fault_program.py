"""A program that makes governed calls until its fault; or the program that runs after it.

`python -m benchmarks.cus_sdk_fault_program '{"contestant": …, "fate": …}'`. Runs in the
contestant's environment. What it writes: `ready` before its first call, `exits` when it begins to end.
"""

import json
import os
import signal
import sys
import time
from typing import Any

from benchmarks.cus_sdk_client import MESSAGES, MODEL, NEXT_MODEL, prepare
from benchmarks.cus_sdk_program import own_output
from benchmarks.cus_sdk_setups import SETUPS


def _calls(client: Any, options: dict[str, Any], model: str = MODEL) -> None:
    pause, began = options.get("pause", 0.0), time.monotonic()
    for number in range(1, options["events"] + 1):
        client.chat.completions.create(model=model, messages=MESSAGES)
        if pause:
            time.sleep(max(began + number * pause - time.monotonic(), 0.0))


def main(options: dict[str, Any]) -> None:
    lines, fate = own_output(), options["fate"]
    model = NEXT_MODEL if fate == "next" else MODEL
    prepare(options["events"], model)
    client, flush = SETUPS[options["contestant"]](options["url"], options["spool"])
    lines.write("ready\n")
    lines.flush()
    if fate == "fork":
        child = os.fork()
        if child == 0:
            _calls(client, options)
            os._exit(0)
        os.waitpid(child, 0)
        return
    _calls(client, options, model)
    if fate in ("sigterm", "sigkill"):
        os.kill(os.getpid(), signal.SIGTERM if fate == "sigterm" else signal.SIGKILL)
        time.sleep(30)  # until it is dead of it
    if fate == "next":
        flush()
        sys.stdin.read()  # until the parent stops waiting for adopted events
    lines.write("exits\n")
    lines.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
