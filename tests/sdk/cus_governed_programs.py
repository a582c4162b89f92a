"""What tests of enforcement share: a program that is governed by a server of the tests."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import openai

from aos_sdk import CusReporter, cus_install_middleware
from tests.sdk.cus_capture_cases import CHAT
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeGovernor

T = TypeVar("T")
Configure = Callable[..., CusReporter]
# What a lease lends to a program that shall not run out of it.
PLENTY = {"cents": 100_000, "microcents": 10**11, "tokens": 10**9, "calls": 1_000}


def records_of(governor: CusFakeGovernor, reporter: CusReporter) -> list[dict[str, Any]]:
    """The records that the server has stored of a program."""
    assert reporter.flush(5.0) == 0
    return list(governor.stored.values())


async def asked_later(provider: CusFakeProvider) -> None:
    """A call of the openai package in an event loop."""
    async with openai.AsyncOpenAI(
        api_key="k", base_url=f"{provider.url}/v1", max_retries=0
    ) as client:
        await client.chat.completions.create(**CHAT)


def known_by(reporter: CusReporter) -> Any:
    """What a program knows of its integration."""
    assert reporter.decider is not None
    return reporter.decider.known


def wait_until(condition: Callable[[], T]) -> T:
    """Wait for a condition, up to five seconds, and return its value."""
    for _ in range(500):
        if met := condition():
            return met
        time.sleep(0.01)
    raise AssertionError("it did not become true")


def patched(client: openai.OpenAI) -> Any:
    """A call of the openai package, captured by the middleware."""
    cus_install_middleware()
    return client.chat.completions.create(**CHAT)
