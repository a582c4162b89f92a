"""OpenAI, and other servers that its package's clients call."""

from collections.abc import Iterator
from typing import Final

from aos_sdk.cus_counting.openai_usage import openai_usage, plain_chat_usage
from aos_sdk.cus_providers.openai_requests import REQUESTS
from aos_sdk.cus_providers.provider import (
    CusPackage,
    CusProviderInfo,
    CusRole,
    CusSupportedRange,
    CusSurface,
    CusTarget,
    CusUsageShape,
    subdomain_of,
)
from aos_sdk.cus_wire import CusOperation

_KEY: Final = "openai"
CHAT: Final = CusSurface(_KEY, CusOperation.CHAT, can_inject=True)
COMPLETION: Final = CusSurface(_KEY, CusOperation.COMPLETION, can_inject=True)
RESPONSES: Final = CusSurface(_KEY, CusOperation.RESPONSES, role=CusRole.RESPONSE)
LATE_ANSWER: Final = CusSurface(_KEY, CusOperation.RESPONSES, role=CusRole.LATE_ANSWER)
FILE: Final = CusSurface(_KEY, CusOperation.OTHER, role=CusRole.FILE)
EVENTS: Final = CusSurface(_KEY, CusOperation.RESPONSES, role=CusRole.EVENTS)
EMBEDDING: Final = CusSurface(_KEY, CusOperation.EMBEDDING)
IMAGE: Final = CusSurface(_KEY, CusOperation.IMAGE)
AUDIO: Final = CusSurface(_KEY, CusOperation.AUDIO)
DECISION: Final = CusSurface(_KEY, CusOperation.OTHER)
VIDEO: Final = CusSurface(_KEY, CusOperation.OTHER)
RUN: Final = CusSurface(_KEY, CusOperation.OTHER, role=CusRole.RESPONSE)
LATE_RUN: Final = CusSurface(_KEY, CusOperation.OTHER, role=CusRole.LATE_ANSWER)
LIVE_SESSION: Final = CusSurface(_KEY, CusOperation.AUDIO, role=CusRole.SESSION)
USAGE: Final = CusUsageShape(openai_usage, quick=plain_chat_usage)


def _targets() -> Iterator[CusTarget]:
    resources = "openai.resources"
    # The chat stream helpers send by `create`; so does `responses.stream`.
    for module in ("chat.completions.completions", "chat.completions", "beta.chat.completions"):
        yield CusTarget(f"{resources}.{module}", "Completions", ("create", "parse"), CHAT)
    for module in ("responses.responses", "beta.responses.responses"):
        methods = ("create", "parse", "compact")
        yield CusTarget(f"{resources}.{module}", "Responses", methods, RESPONSES)
        yield CusTarget(f"{resources}.{module}", "Responses", ("retrieve", "cancel"), LATE_ANSWER)
    # Results of batches; a batch itself is no call.
    yield CusTarget(f"{resources}.files", "Files", ("content", "retrieve_content"), FILE)
    yield CusTarget(f"{resources}.completions", "Completions", ("create",), COMPLETION)
    yield CusTarget(f"{resources}.embeddings", "Embeddings", ("create",), EMBEDDING)
    images = ("generate", "edit", "create_variation")
    yield CusTarget(f"{resources}.images", "Images", images, IMAGE)
    yield CusTarget(f"{resources}.audio.transcriptions", "Transcriptions", ("create",), AUDIO)
    yield CusTarget(f"{resources}.audio.translations", "Translations", ("create",), AUDIO)
    yield CusTarget(f"{resources}.audio.speech", "Speech", ("create",), AUDIO)
    yield CusTarget(f"{resources}.decisions", "Decisions", ("create",), DECISION)
    videos = ("create", "edit", "extend", "remix")
    yield CusTarget(f"{resources}.videos", "Videos", videos, VIDEO)
    yield from _runs(f"{resources}.beta.threads")
    yield from _connections(resources)


def _runs(threads: str) -> Iterator[CusTarget]:
    """Runs of assistants. What polls, creates and retrieves; streams send requests of their own."""
    runs = f"{threads}.runs.runs"
    yield CusTarget(runs, "Runs", ("create", "create_and_stream", "stream"), RUN)
    outputs = ("submit_tool_outputs", "submit_tool_outputs_stream")
    yield CusTarget(runs, "Runs", ("retrieve", "cancel", *outputs), LATE_RUN)
    methods = ("create_and_run", "create_and_run_stream")
    yield CusTarget(f"{threads}.threads", "Threads", methods, RUN)


def _connections(resources: str) -> Iterator[CusTarget]:
    """Sessions over a WebSocket, and live sessions that begin by a request."""
    for module, name in (
        ("responses.responses", "ResponsesConnection"),
        ("beta.responses.responses", "ResponsesConnection"),
        ("realtime.realtime", "RealtimeConnection"),
        ("beta.realtime.realtime", "RealtimeConnection"),
        ("realtime.translations.translations", "TranslationsConnection"),
        ("live.live", "LiveConnection"),
        ("live.forks", "ForksConnection"),
        ("live.sideband", "SidebandConnection"),
    ):
        methods = ("recv_bytes", "parse_event", "close")
        yield CusTarget(f"{resources}.{module}", name, methods, EVENTS)
    # Where newer releases have what all their connections share.
    shared = "openai._websocket_connection"
    yield CusTarget(shared, "WebSocketConnectionBase", ("close",), EVENTS)
    yield CusTarget(f"{resources}.live.live", "Live", ("create",), LIVE_SESSION)
    yield CusTarget(f"{resources}.live.sessions", "Sessions", ("accept", "fork"), LIVE_SESSION)


PROVIDER: Final = CusProviderInfo(
    key=_KEY,
    package=CusPackage("openai", CusSupportedRange((1, 66), 4), tuple(_targets()), agent="OpenAI"),
    hosts=("api.openai.com",),
    host_ends=(".api.openai.com",),
    paths=(
        b"/chat/completions",
        b"/completions",
        b"/responses",
        b"/responses/compact",
        b"/embeddings",
        b"/images/generations",
        b"/images/edits",
        b"/images/variations",
        b"/audio/speech",
        b"/audio/transcriptions",
        b"/audio/translations",
        b"/decisions",
    ),
    requests=REQUESTS,
    usage=USAGE,
    region_of_host=subdomain_of("api.openai.com"),
    takes_stream_options=lambda _client: True,
)
