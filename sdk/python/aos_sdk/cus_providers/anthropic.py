"""Anthropic, and other servers that its package's clients call."""

from collections.abc import Iterator
from typing import Any, Final

from aos_sdk.cus_counting.anthropic_usage import anthropic_usage, told_fields
from aos_sdk.cus_providers.anthropic_requests import REQUESTS
from aos_sdk.cus_providers.provider import (
    CusPackage,
    CusProviderInfo,
    CusRole,
    CusSupportedRange,
    CusSurface,
    CusTarget,
    CusUsageShape,
)
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_wire import CusOperation

_KEY: Final = "anthropic"
MESSAGES: Final = CusSurface(_KEY, CusOperation.CHAT)
TEXT_COMPLETION: Final = CusSurface(_KEY, CusOperation.COMPLETION)
BATCH_RESULTS: Final = CusSurface(_KEY, CusOperation.CHAT, role=CusRole.BATCH_RESULTS)


def _read(_bearer: Any, usage: Any) -> CusReportedUsage:
    return anthropic_usage(usage)


USAGE: Final = CusUsageShape(_read, told=told_fields)


def _targets() -> Iterator[CusTarget]:
    # The tool runners send by `create`, `parse` or `stream`: each request is a call.
    messages = ("create", "parse", "stream")
    for module in (
        "anthropic.resources.messages.messages",
        "anthropic.resources.messages",
        "anthropic.resources.beta.messages.messages",
        # These classes hold the same functions as those above, so they must be patched afterwards.
        "anthropic.lib.bedrock._beta_messages",
        "anthropic.lib.vertex._beta_messages",
    ):
        yield CusTarget(module, "Messages", messages, MESSAGES)
    resources = "anthropic.resources"
    yield CusTarget(f"{resources}.completions", "Completions", ("create",), TEXT_COMPLETION)
    for module in ("messages.batches", "beta.messages.batches"):
        yield CusTarget(f"{resources}.{module}", "Batches", ("results",), BATCH_RESULTS)


PROVIDER: Final = CusProviderInfo(
    key=_KEY,
    package=CusPackage(
        "anthropic", CusSupportedRange((0, 45), 3), tuple(_targets()), agent="Anthropic"
    ),
    hosts=("api.anthropic.com",),
    paths=(b"/messages", b"/complete"),
    requests=REQUESTS,
    usage=USAGE,
)
