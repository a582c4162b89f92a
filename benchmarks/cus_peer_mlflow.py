"""Sends LLM calls to MLflow as traces of one span. Runs in the peers' environment.

Orders on the command line: the port and how many calls. A trace is a request of its own, from
eight threads, waited for, so that none is dropped when the queue of MLflow's client is full.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import mlflow

_THREADS = 8


def main(port: int, number: int) -> None:
    mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
    mlflow.set_experiment("bench")
    _send(0)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(_send, range(number)))


def _send(count: int) -> None:
    attributes = {
        "mlflow.chat.tokenUsage": {
            "input_tokens": 1_000 + count % 7_000,
            "output_tokens": 1 + count % 1_200,
            "total_tokens": 1_001 + count % 7_000 + count % 1_200,
        },
        "mlflow.llm.model": "gpt-4o",
        "mlflow.llm.provider": "openai",
    }
    mlflow.start_span_no_context("chat", span_type="LLM", attributes=attributes).end()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
