"""Set up each contestant as its own manual says. Runs in the contestant's environment.

Each function returns a client whose calls are governed, and what makes its events leave at once.
What is imported is imported when it is its turn: no environment holds all of them.
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.cus_sdk_client import MESSAGES, MODEL, new_client

Setup = tuple[Any, Callable[[], object]]
KEY: Final = (
    "11111111-1111-1111-1111-111111111111:22222222-2222-2222-2222-222222222222:aosk_benchmark"
)

# The sink's integration with a limit.
LIMITED_KEY: Final = KEY.replace("2222", "3333")


def bare(url: str, spool: str) -> Setup:
    """The same client once more: what differs is noise."""
    return new_client(), bool


def null(url: str, spool: str) -> Setup:
    """Patches that do nothing."""
    from openai.resources.chat.completions import Completions

    _patch_with_nothing(Completions)
    if "anthropic" in sys.modules:
        from anthropic.resources.messages import Messages

        _patch_with_nothing(Messages)
    return new_client(), bool


def _patch_with_nothing(surface: Any) -> None:
    original = surface.create

    @functools.wraps(original)
    def create(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    surface.create = create


def durable(url: str, spool: str) -> Setup:
    """Ours as it comes: the patch, and a ring that outlives the process."""
    return _ours(url, spool)


def memory(url: str, spool: str) -> Setup:
    """Ours with records in memory alone."""
    return _ours(url, None)


def leased(url: str, spool: str) -> Setup:
    """Ours, for an integration with a limit: calls take their amounts of leases."""
    client, flush = _ours(url, spool, LIMITED_KEY)
    from aos_sdk import cus_get_reporter

    decider = cus_get_reporter().decider
    assert decider is not None
    for _ in range(500):
        client.chat.completions.create(model=MODEL, messages=MESSAGES)
        if decider.book.current is not None:
            return client, flush
        time.sleep(0.01)
    message = "no lease came"
    raise RuntimeError(message)


def _ours(url: str, spool: str | None, key: str = KEY) -> Setup:
    from aos_sdk import cus_configure, cus_install_middleware

    reporter = cus_configure(key, url, spool_dir=spool)
    assert reporter.problem is None, reporter.problem
    cus_install_middleware()
    return new_client(), functools.partial(reporter.flush, 30.0)


def otel(url: str, spool: str) -> Setup:
    provider = _otlp(url)
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return new_client(), provider.force_flush


def openllmetry(url: str, spool: str) -> Setup:
    provider = _otlp(url)
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return new_client(), provider.force_flush


def _otlp(url: str) -> Any:
    """Spans in batches over HTTP. No metrics and no logs: the cheapest way to have tokens told."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def langfuse(url: str, spool: str) -> Setup:
    import langfuse as package
    import langfuse.openai  # importing it is the patch

    program = package.Langfuse(public_key="pk-lf-1", secret_key="sk-lf-1", base_url=url)  # noqa: S106  (made up)
    return new_client(), program.flush


def posthog(url: str, spool: str) -> Setup:
    from posthog import Posthog
    from posthog.ai.openai import OpenAI

    program = Posthog("phc_benchmark", host=url)
    return new_client(OpenAI, posthog_client=program), program.flush


def logfire(url: str, spool: str) -> Setup:
    """Without its console, which prints every call."""
    import logfire as package

    package.configure(
        token="pylf_v1_us_benchmark",  # noqa: S106  (made up)
        send_to_logfire=True,
        console=False,
        advanced=package.AdvancedOptions(base_url=url),
    )
    client = new_client()
    package.instrument_openai(client)
    return client, package.force_flush


def langsmith(url: str, spool: str) -> Setup:
    from langsmith import Client
    from langsmith.wrappers import wrap_openai

    program = Client(api_url=url, api_key="lsv2_benchmark")
    return wrap_openai(new_client(), tracing_extra={"client": program}), program.flush


SETUPS: Final[dict[str, Callable[[str, str], Setup]]] = {
    setup.__name__: setup
    for setup in (
        *(bare, null, durable, memory, leased),
        *(otel, langfuse, posthog, openllmetry, logfire, langsmith),
    )
}
