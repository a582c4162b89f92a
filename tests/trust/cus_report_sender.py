"""A program that delivers reports: `python -m tests.trust.cus_report_sender`, killed at any moment.

On the standard library alone, so that a killed one is soon replaced. Reads its options as a line of
JSON. `batches` is a file of request bodies, a line each; for each that is acknowledged a line goes to
the file `done`, where the next process goes on. `limit` is a file with the part that may be sent.
"""

import http.client
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.trust.cus_door import Answer, Door

_BATCH = "/api/v1/cus/telemetry/llm-usage/batch"
_PAUSE_SECONDS = 0.005
_RETRY_SECONDS = 0.05


def deliver(doors: list[Door], body: bytes, first: int) -> dict[str, Any]:
    """Deliver until it is acknowledged: what became of each record, after how many attempts."""
    attempt = 0
    while True:
        answer = _post(doors[(first + attempt) % len(doors)], body)
        attempt += 1
        if answer is not None and answer.status == 200:
            return {"statuses": _statuses(answer.json()), "attempts": attempt}
        if answer is not None and answer.status not in (429, 503):
            return {"statuses": [str(answer)], "attempts": attempt}
        time.sleep(_RETRY_SECONDS)


def _post(door: Door, body: bytes) -> Answer | None:
    try:
        return door.post(_BATCH, body)
    except (OSError, http.client.HTTPException):
        return None


def _statuses(receipt: dict[str, Any]) -> list[str]:
    statuses = ["accepted"] * receipt["total"]
    for result in receipt["results"]:
        statuses[result["index"]] = result["status"]
    return statuses


def main() -> None:
    options = json.loads(sys.stdin.readline())
    batches = Path(options["batches"]).read_bytes().splitlines()
    done, limit = Path(options["done"]), Path(options["limit"])
    doors = [Door(port, options["key"]) for port in options["ports"]]
    for number in range(len(done.read_bytes().splitlines()), len(batches)):
        while number >= float(limit.read_text() or 0) * len(batches):
            time.sleep(_PAUSE_SECONDS)
        outcome = deliver(doors, batches[number], number)
        with done.open("a") as file:
            file.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
