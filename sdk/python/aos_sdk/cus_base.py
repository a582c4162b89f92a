"""What every provider adapter shares: its client, its reporter, and the one call path."""

import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aos_sdk.cus_connection import DEFAULT_BASE_URL
from aos_sdk.cus_cost import CusTokenUsage, CusUnknownModel
from aos_sdk.cus_record import generate_call_id
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusOperation

T = TypeVar("T")  # the native client
R = TypeVar("R")  # the provider's own response


def _default_base_url() -> str:
    return os.environ.get("AOS_BASE_URL") or DEFAULT_BASE_URL


@dataclass
class CusProviderConfig:
    """How an adapter reports. Unset, the key and the address come from the environment."""

    integration_key: str | None = field(default=None, repr=False)
    base_url: str = field(default_factory=_default_base_url)
    auto_report: bool = True


@dataclass(slots=True)
class CusCallContext:
    """Which call this is. `start_time` is in seconds since the epoch."""

    call_id: str
    model: str
    start_time: float
    session_id: str | None = None
    agent_id: str | None = None


class CusBaseProvider(ABC, Generic[T]):
    """A governed provider (§5.2): every call made through it is timed, priced and reported.

    A subclass says how to make the native client, how to read a response's tokens and what they
    cost; `_execute_with_telemetry` does the rest and lets responses and errors through untouched.
    """

    operation: CusOperation = CusOperation.OTHER

    def __init__(
        self,
        api_key: str | None = None,
        *,
        config: CusProviderConfig | None = None,
        integration_key: str | None = None,
        reporter: CusReporter | None = None,
        client: T | None = None,
        **client_kwargs: Any,
    ) -> None:
        """Use `client`, or make one of `api_key` and `client_kwargs`; report by `reporter`, or by
        one made of `config` or `integration_key`. Errors of the native client pass through.
        """
        self._config = config or CusProviderConfig(integration_key=integration_key)
        self._client = (
            client if client is not None else self._create_client(api_key, **client_kwargs)
        )
        self._reporter = reporter or CusReporter(
            integration_key or self._config.integration_key, self._config.base_url
        )

    @abstractmethod
    def _create_client(self, api_key: str | None, **kwargs: Any) -> T:
        """Make the native client; without a key it finds its own, as the provider documents."""

    @abstractmethod
    def _get_provider_name(self) -> str:
        """The provider as records name it: `openai`, `anthropic`, …"""

    @abstractmethod
    def _extract_usage(self, response: Any) -> tuple[int, int]:
        """(tokens_in, tokens_out) of a response; zeros where it has none."""

    @abstractmethod
    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        """Cost in cents, rounded up; raises CusUnknownModel where there is no price."""

    @property
    def client(self) -> T:
        """The native client. Calls made on it directly are not governed."""
        return self._client

    @property
    def reporter(self) -> CusReporter:
        return self._reporter

    def _new_context(
        self, model: object, call_id: str | None, session_id: str | None, agent_id: str | None
    ) -> CusCallContext:
        name = model if isinstance(model, str) else ""
        return CusCallContext(
            call_id or generate_call_id(), name, time.time(), session_id, agent_id
        )

    def _execute_with_telemetry(self, context: CusCallContext, call: Callable[[], R]) -> R:
        """Make the call, time it, and report it with its tokens, its cost and its outcome."""
        if not self._config.auto_report:
            return call()
        with self._reporter.track_call(
            self._get_provider_name(),
            context.model,
            call_id=context.call_id,
            session_id=context.session_id,
            agent_id=context.agent_id,
            operation=self.operation,
        ) as tracker:
            response = call()
            with self._reporter.guard:
                self._observe(tracker, response)
            return response

    def _observe(self, tracker: CusCallTracker, response: Any) -> None:
        """Tell the tracker what a response says. A subclass that knows more kinds overrides it."""
        tokens_in, tokens_out = self._extract_usage(response)
        tracker.set_usage(CusTokenUsage(tokens_in, tokens_out))
        with contextlib.suppress(CusUnknownModel):
            tracker.set_cost(self._calculate_cost(tracker.model, tokens_in, tokens_out))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reporter={self._reporter!r})"
