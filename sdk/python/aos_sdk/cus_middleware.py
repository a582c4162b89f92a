"""Capture without an adapter: a decorator, a block, a wrapper, or a patch (§5.3)."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, Unpack

from aos_sdk.cus_capture.answers import run
from aos_sdk.cus_capture.bypass_transports import detect_bypass as watch_for_bypass
from aos_sdk.cus_capture.bypass_transports import unwatch_transports, watch_departures
from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_capture.generators import driven, driving_async
from aos_sdk.cus_capture.http_clients.installation import record_http, unrecord_http
from aos_sdk.cus_capture.patch import PATCHES
from aos_sdk.cus_configuration import active
from aos_sdk.cus_scope import CusCallIdentity
from aos_sdk.cus_tags import CusTags
from aos_sdk.cus_tracker import CusCallTracker

P = ParamSpec("P")
R = TypeVar("R")

CusTelemetryTracker = CusCallTracker


class CusTrackOptions(CusCallIdentity, total=False):
    """What `cus_track` is told of a call beside the model and the provider."""

    max_tokens: int | None


def cus_track(  # noqa: PLR0913 - the public surface, each argument by its name
    model: str,
    provider: str | None = None,
    *,
    call_id: str | None = None,
    session_id: str | None = None,
    agent_id: str | None = None,
    end_user: str | None = None,
    tags: CusTags | None = None,
    max_tokens: int | None = None,
) -> CusCallTracker:
    """Measure the call in a `with` or `async with` block; set its results on the tracker.

    `max_tokens` is the most that the call may answer, for the limits that are checked before the
    block: without it, the most that the model can answer counts. Raises CusLimitExceeded where a
    limit stops the call.
    """
    configuration = active.get()
    call = CusCallTracker(
        configuration.reporter,
        provider,
        model,
        call_id=call_id,
        session_id=session_id,
        agent_id=agent_id,
        end_user=end_user,
        tags=tags,
    )
    call.is_reported = configuration.auto_report
    call.gate = configuration.gate
    if max_tokens is not None:
        call.arguments = {"max_tokens": max_tokens}
    call.add_identity(configuration.identity)
    return call


@passed_over_by_warnings
def cus_wrap(
    function: Callable[[], R],
    *,
    model: str,
    provider: str | None = None,
    **options: Unpack[CusTrackOptions],
) -> R:
    """Call the function, measured, and return its response, awaitable or stream.

    Tokens are read from the response, from the awaitable's result or from the stream. Takes what
    `cus_track` does, and limits are checked as there: before the call; for a coroutine function when
    its result is awaited.
    """
    call = cus_track(model, provider, **options)
    call.is_asynchronous = inspect.iscoroutinefunction(function)
    result: R = run(call, function, (), {})
    return result


def cus_telemetry(
    model: str,
    provider: str | None = None,
    *,
    session_id: str | None = None,
    agent_id: str | None = None,
    end_user: str | None = None,
    tags: CusTags | None = None,
    max_tokens: int | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Measure every call of a function, coroutine function, generator or asynchronous generator.

    Limits are checked before each call, as `cus_track` does. Tokens are read from its results or from
    the items it yields. The decorated function is of the same kind, for `inspect`.
    """

    def begin() -> CusCallTracker:
        return cus_track(
            model,
            provider,
            session_id=session_id,
            agent_id=agent_id,
            end_user=end_user,
            tags=tags,
            max_tokens=max_tokens,
        )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        governed: Any = _governed(function, begin)
        return functools.wraps(function)(governed)

    return decorate


def _governed(function: Callable[..., Any], begin: Callable[[], CusCallTracker]) -> Any:
    if inspect.isasyncgenfunction(function):
        return driving_async(lambda *args, **kwargs: (begin(), function(*args, **kwargs)))
    if inspect.isgeneratorfunction(function):

        @passed_over_by_warnings
        def yields(*args: Any, **kwargs: Any) -> Any:
            return (yield from driven(begin(), function(*args, **kwargs)))

        return yields
    if inspect.iscoroutinefunction(function):

        @passed_over_by_warnings
        async def returns_later(*args: Any, **kwargs: Any) -> Any:
            call = begin()
            call.is_asynchronous = True
            return await run(call, function, args, kwargs)

        return returns_later

    @passed_over_by_warnings
    def returns(*args: Any, **kwargs: Any) -> Any:
        return run(begin(), function, args, kwargs)

    return returns


def cus_install_middleware(
    *,
    patch_openai: bool = True,
    patch_anthropic: bool = True,
    patch_http: bool = False,
    detect_bypass: bool = True,
    http_hosts: Iterable[str] = (),
) -> None:
    """Govern every call that the program makes with these packages, imported already or later.

    A second call has no effect. With `detect_bypass`, requests to providers that bypass the SDK are
    counted and reported. With `patch_http`, requests to providers, and to `http_hosts`, by httpx,
    httpx2, requests, urllib3 and aiohttp are recorded where no measured call makes them; the log
    (`aos_sdk`, at level info) names all the hosts.
    """
    chosen = {"openai": patch_openai, "anthropic": patch_anthropic}
    for package, patch in PATCHES.items():
        if chosen.get(package, True):
            patch.install()
            watch_departures()
    if patch_http:
        record_http(http_hosts)
    if detect_bypass:
        watch_for_bypass()


def cus_uninstall_middleware() -> None:
    """Restore the original functions."""
    for patch in PATCHES.values():
        patch.remove()
    unrecord_http()
    unwatch_transports()
