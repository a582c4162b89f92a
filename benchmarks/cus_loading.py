"""Puts a load on a server that takes reports, and gathers what the senders measured."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from aos_project.cus_runner import BASE_DIR
from aos_sdk.cus_wire import INTEGRATION_KEY_HEADER, LLM_USAGE_BATCH_PATH, LLM_USAGE_PATH
from benchmarks.cus_databases import Sender
from benchmarks.cus_traffic import templates

# The server has eight threads. Batches keep two cores busy with half of them; single records
# spend their time waiting for the disk, and share a flush when more of them wait.
CONNECTIONS = {1: 8}
_FEW_CONNECTIONS = 4
_MOST_REQUESTS = 200_000


@dataclass(frozen=True)
class Load:
    """The results of one turn. Latencies in seconds, one for each request."""

    events: int
    seconds: float
    latencies: Sequence[float]

    @property
    def events_a_second(self) -> float:
        return self.events / self.seconds


class Refused(Exception):
    """The server refused a valid request; without this error it would look fast."""


def put_load(port: int, sender: Sender, *, batch: int, seconds: float) -> Load:
    """Run senders that each wait for an answer before the next request, for so long."""
    orders = _orders(port, sender, batch, seconds)
    return put_orders([orders] * CONNECTIONS.get(batch, _FEW_CONNECTIONS))


def put_orders(orders: Sequence[dict[str, Any]]) -> Load:
    """One sender for each of the orders, all at once."""
    batch = orders[0]["batch"]
    with ExitStack() as stack:
        senders = [stack.enter_context(_start(json.dumps(one) + "\n")) for one in orders]
        for process in senders:
            _line(process)
        for process in senders:
            _tell(process, "go\n")
        answers = [json.loads(_line(process)) for process in senders]
    refused = sum(answer["refused"] for answer in answers)
    if refused:
        raise Refused(f"{refused} of {sum(len(one['latencies']) for one in answers)} batches")
    latencies = [latency for answer in answers for latency in answer["latencies"]]
    return Load(len(latencies) * batch, max(one["seconds"] for one in answers), latencies)


def _orders(port: int, sender: Sender, batch: int, seconds: float) -> dict[str, Any]:
    path = LLM_USAGE_PATH if batch == 1 else LLM_USAGE_BATCH_PATH
    return {
        "port": port,
        "heads": [request_head(port, path, sender.key)],
        "templates": templates(),
        "batch": batch,
        "wrapped": batch > 1,
        "seconds": seconds,
        "most": _MOST_REQUESTS,
    }


def request_head(port: int, path: str, key: str) -> str:
    """The lines of a request before the length of its body."""
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"{INTEGRATION_KEY_HEADER}: {key}",
        "Content-Type: application/json",
        "Accept: application/json",
    )
    return "".join(f"{line}\r\n" for line in lines)


def _start(orders: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.cus_load"],
        cwd=BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _tell(process, orders)
    return process


def _tell(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdin
    process.stdin.write(text)
    process.stdin.flush()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise Refused("a sender ended before it was done; its traceback is above")
    return line
