"""The base of the provider adapters (§5.2)."""

import contextlib
import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from aos_sdk.cus_capture.answers import run
from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_capture.kinds import KINDS
from aos_sdk.cus_capture.surfaces import gate_of, prepare_call
from aos_sdk.cus_configuration import active
from aos_sdk.cus_cost import CusUnknownModel, calculate_cost
from aos_sdk.cus_delivery.connection import DEFAULT_BASE_URL
from aos_sdk.cus_errors import CusProviderError
from aos_sdk.cus_providers.provider import CusSurface
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_scope import CusCallIdentity, CusIdentity
from aos_sdk.cus_tags import CusTags, merged_tags, tags_of
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusOperation

T = TypeVar("T", covariant=True)  # the native client
R = TypeVar("R")  # the provider's own response
Later = Coroutine[Any, Any, R]  # the return type of an asynchronous client's method

_FAILURES_UNTIL_FAILING: Final = 3


def _default_base_url() -> str:
    return os.environ.get("AOS_BASE_URL") or DEFAULT_BASE_URL


@dataclass
class CusProviderConfig:
    """How an adapter reports. Key and address come from the environment if unset."""

    integration_key: str | None = field(default=None, repr=False)
    base_url: str = field(default_factory=_default_base_url)
    auto_report: bool = True


@dataclass(slots=True)
class CusCallContext:
    """The identity of a call. `start_time` is in seconds since the epoch."""

    call_id: str
    model: str
    start_time: float
    session_id: str | None = None
    agent_id: str | None = None
    end_user: str | None = None
    tags: CusTags | None = None


class CusCallOptions(CusCallIdentity, total=False):
    """Every call's options beside the request: our own names, and the native clients' own."""

    extra_headers: Mapping[str, Any] | None
    extra_query: Mapping[str, object] | None
    extra_body: object | None


class CusProviderStatus(StrEnum):
    """The health of an adapter's recent calls, in the server's words for health."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILING = "failing"


class _Health:
    """Counts an adapter's failed calls in a row; None before the first call."""

    def __init__(self) -> None:
        self._failures: int | None = None

    def note(self, *, failed: bool) -> None:
        self._failures = (self._failures or 0) + 1 if failed else 0

    @property
    def status(self) -> CusProviderStatus:
        if self._failures is None:
            return CusProviderStatus.UNKNOWN
        if self._failures == 0:
            return CusProviderStatus.HEALTHY
        is_failing = self._failures >= _FAILURES_UNTIL_FAILING
        return CusProviderStatus.FAILING if is_failing else CusProviderStatus.DEGRADED


class CusBaseProvider(ABC, Generic[T]):
    """A governed provider (§5.2): every call made through it is timed, priced and reported.

    A subclass defines how to make the native client, how to read a response's tokens and how to
    price them. Responses, errors and an asynchronous client's awaitables pass through untouched.
    Reports by `reporter`, else by a reporter made of `config` or `integration_key`, else by the
    reporter of `cus_configure`.
    """

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
        """Use `client`, or make one of `api_key` and `client_kwargs`; its errors pass through."""
        self._config = config or CusProviderConfig(integration_key=integration_key)
        self._client = (
            client if client is not None else self._create_client(api_key, **client_kwargs)
        )
        key = integration_key or self._config.integration_key
        if reporter is None and (config is not None or key is not None):
            reporter = CusReporter(key, self._config.base_url)
        self._reporter = reporter
        self._health = _Health()

    @abstractmethod
    def _create_client(self, api_key: str | None, **kwargs: Any) -> T:
        """Make the native client. Without a key, the client uses what its package documents."""

    @abstractmethod
    def _get_provider_name(self) -> str:
        """The provider's name in records: `openai`, `anthropic`, …"""

    @abstractmethod
    def _extract_usage(self, response: Any) -> tuple[int, int]:
        """(tokens_in, tokens_out) of a response; zeros if the response has no usage."""

    @abstractmethod
    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        """Cost in cents, rounded up; raises CusUnknownModel if there is no price."""

    @property
    def client(self) -> T:
        """The native client. Calls made on it directly are not governed by this adapter."""
        return self._client

    @property
    def reporter(self) -> CusReporter:
        return self._reporter or active.get().reporter

    @property
    def status(self) -> CusProviderStatus:
        """The adapter's health: one failure means degraded, three in a row mean failing."""
        return self._health.status

    @passed_over_by_warnings
    def _govern(
        self,
        surface: CusSurface,
        function: Callable[..., Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """Call a method of the native client, measured; do not pass on our own arguments."""
        call_id = kwargs.pop("call_id", None)
        own = _own_identity(kwargs)
        call = None
        if self._config.auto_report:
            with self.reporter.guard:
                configuration = active.get()
                kind = KINDS[surface.role]
                call = prepare_call(
                    surface, self._client, kwargs, configuration, self.reporter, call_id, kind=kind
                )
        if call is None:
            return function(**kwargs)
        _override(call, own)
        call.health = self._health
        return run(call, function, (), call.arguments)

    def _execute_with_telemetry(self, context: CusCallContext, call: Callable[[], R]) -> R:
        """Make the call, time it, and report it with its tokens, its cost and its outcome.

        For adapters that a program defines itself; `_extract_usage` reads the response.
        """
        if not self._config.auto_report:
            return call()
        own = _OwnCall(
            self.reporter,
            self._get_provider_name(),
            context.model,
            call_id=context.call_id,
            session_id=context.session_id,
            agent_id=context.agent_id,
            end_user=context.end_user,
            tags=context.tags,
            operation=CusOperation.OTHER,
        )
        configuration = active.get()
        own.add_identity(configuration.identity)
        own.adapter, own.health = self, self._health
        own.gate = gate_of(self.reporter, configuration)
        own.is_asynchronous = inspect.iscoroutinefunction(call)
        response: R = run(own, call, (), {})
        return response

    def _read(self, call: CusCallTracker, response: Any) -> None:
        tokens_in, tokens_out = self._extract_usage(response)
        call.set_tokens(tokens_in, tokens_out)
        with contextlib.suppress(CusUnknownModel):
            call.set_cost(self._calculate_cost(call.model, tokens_in, tokens_out))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(reporter={self.reporter!r})"


class CusPackageProvider(CusBaseProvider[T]):
    """An adapter for a provider's own package, whose calls the price table prices.

    A subclass is generic in the client, by a type variable whose default is the client that it
    makes where the program has none.
    """

    if TYPE_CHECKING:
        # A client of the program's own has its key and its settings.
        @overload
        def __init__(
            self,
            api_key: str | None = None,
            *,
            config: CusProviderConfig | None = None,
            integration_key: str | None = None,
            reporter: CusReporter | None = None,
            client: None = None,
            **client_kwargs: Any,
        ) -> None: ...
        @overload
        def __init__(
            self,
            api_key: None = None,
            *,
            config: CusProviderConfig | None = None,
            integration_key: str | None = None,
            reporter: CusReporter | None = None,
            client: T,
        ) -> None: ...
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def _calculate_cost(self, model: str, tokens_in: int, tokens_out: int) -> int:
        return calculate_cost(model, tokens_in, tokens_out)


def provider_package(name: str) -> Any:
    """A provider's package. Raises CusProviderError if it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        message = f"the {name} package is missing: install aos-customer-integrations-sdk[{name}]"
        raise CusProviderError(message) from error


def text_of(answer: Any, read: Callable[[Any], str]) -> Any:
    """The text of an answer, or an awaitable of the text if the answer is an awaitable."""
    if not hasattr(answer, "__await__"):
        return read(answer)

    async def later() -> str:
        return read(await answer)

    return later()


def _own_identity(kwargs: dict[str, Any]) -> CusIdentity:
    """Whose the call is, taken out of its arguments."""
    session_id, agent_id = kwargs.pop("session_id", None), kwargs.pop("agent_id", None)
    end_user, tags = kwargs.pop("end_user", None), kwargs.pop("tags", None)
    return CusIdentity(session_id, agent_id, end_user, tags_of(tags))


def _override(call: CusCallTracker, own: CusIdentity) -> None:
    if own.session_id and own.session_id != call.session_id:
        call.run = None  # A budget in code is of its session.
    call.session_id = own.session_id or call.session_id
    call.agent_id = own.agent_id or call.agent_id
    if own.end_user:
        call.end_user = own.end_user
    if own.tags is not None:
        call.tags = merged_tags(call.tags, own.tags)


class _OwnCall(CusCallTracker):
    """A call by an adapter that the program defines, which reads the response itself."""

    is_leaf = True
    adapter: CusBaseProvider[Any]

    def read(self, response: Any) -> None:
        self.adapter._read(self, response)  # noqa: SLF001 - the adapter's own half of the work
