"""Sends LLM calls to arize-phoenix as OpenInference spans over OTLP. Runs in the peers' environment.

Orders on the command line: the port and how many calls. In batches of 512, as OpenTelemetry's
BatchSpanProcessor sends them; on this thread, so that none is dropped when its queue is full.
"""

import sys
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

_BATCH = 512


def main(port: int, number: int) -> None:
    spans = _spans(number)
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for start in range(0, number, _BATCH):
        result = exporter.export(spans[start : start + _BATCH])
        if result is not SpanExportResult.SUCCESS:
            raise SystemExit("phoenix refused a batch")


def _spans(number: int) -> Sequence[ReadableSpan]:
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("bench")
    for count in range(number):
        attributes = {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o",
            "llm.provider": "openai",
            "llm.token_count.prompt": 1_000 + count % 7_000,
            "llm.token_count.completion": 1 + count % 1_200,
            "session.id": f"session-{count // 20}",
        }
        tracer.start_span("chat", attributes=attributes).end()
    return list(kept.get_finished_spans())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
