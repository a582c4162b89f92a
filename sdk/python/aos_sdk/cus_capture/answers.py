"""Run every captured call, and read its answer (§6.1).

Each way to capture (adapter, decorator, block, wrapper, patch) makes a call and passes it to `run`.
`run` reads an object at once and a stream while the caller reads it, and passes the answer on
unchanged. The way to read an answer is found once for each class. This module imports no provider's
package, and uses only attributes that every supported version has.
"""

import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from aos_sdk.cus_capture.batches import CusBatchLookup
from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_capture.generators import driven, driven_async
from aos_sdk.cus_capture.own_reading import watch_own_reading
from aos_sdk.cus_capture.raw import watch_body
from aos_sdk.cus_capture.streams import CusStreamWatch, watch_async_stream, watch_stream
from aos_sdk.cus_counting.classes import remember
from aos_sdk.cus_providers.registry import PACKAGES
from aos_sdk.cus_scope import enter_call, leave_call, leave_call_anywhere
from aos_sdk.cus_tracker import CusCallTracker

if TYPE_CHECKING:
    from aos_sdk.cus_enforcing.gate import CusGate

Answer = Callable[[CusCallTracker, Any], Any]

# The attributes in which managers of stream helpers and of streamed bodies keep their request.
_REQUESTS: Final = ("_api_request", "_request_func")


def answered(call: CusCallTracker, response: Any) -> Any:
    """Read a call's answer, report the call when it is over, and return the answer."""
    kind = type(response)
    answer = _answers.get(kind) or _learn(kind)
    return answer(call, response)


@passed_over_by_warnings
def run(
    call: CusCallTracker,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Make the call; the caller gets exactly what the function returns or raises."""
    call.start()
    if call.gate is not None:
        if not call.is_asynchronous:
            call.gate.enter(call)
        elif call.can_clamp:
            call.remake = _maker(function, args, kwargs)
    token = enter_call(call)
    try:
        response = function(*args, **kwargs)
    except BaseException as error:
        leave_call(token)
        call.fail(error)
        raise
    leave_call(token)
    return answered(call, response)


def _maker(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[], Any]:
    # Of its own: a closure in `run` would take memory at each call for the values that it shares.
    return lambda: function(*args, **kwargs)


@passed_over_by_warnings
async def awaited(call: CusCallTracker, awaitable: Awaitable[Any]) -> Any:
    """Run the prepared call now."""
    call.start()
    if call.gate is not None:
        await _admitted(call.gate, call, awaitable)
        if call.is_clamped and call.remake is not None:
            # Made before the gate lowered what it asks for, and not begun yet.
            _close(awaitable)
            awaitable = call.remake()
        call.remake = None
    token = enter_call(call)
    try:
        response = await awaitable
    except BaseException as error:
        leave_call_anywhere(token)
        call.fail(error)
        raise
    leave_call_anywhere(token)
    return answered(call, response)


async def _admitted(gate: "CusGate", call: CusCallTracker, awaitable: Any) -> None:
    """Wait until the call may begin. Where it may not, its coroutine will not be awaited."""
    try:
        await gate.enter_later(call)
    except BaseException:
        _close(awaitable)
        raise


def _close(awaitable: Any) -> None:
    if hasattr(awaitable, "close"):
        awaitable.close()


def _learn(kind: type) -> Answer:
    return remember(_answers, kind, _answer_of(kind))


def _answer_of(kind: type) -> Answer:
    if hasattr(kind, "__await__"):
        return _awaitable
    if kind in _ANSWERS_OF_PYTHON:
        return _ANSWERS_OF_PYTHON[kind]
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in PACKAGES:
            name = base.__name__
            if name in _ANSWERS_OF_CLASSES:
                return _ANSWERS_OF_CLASSES[name]
            if name.endswith(("StreamManager", "ResponseContextManager")):
                return _manager
    return _whole


def _whole(call: CusCallTracker, response: Any) -> Any:
    try:
        call.read(response)
    except Exception as error:  # noqa: BLE001 - as the guard does
        call.reporter.guard.swallow(error)
    call.end()
    return response


_HELD_BY_US_ALONE: Final = 2  # and `getrefcount`'s own argument


class _Prepared:
    """A provider's coroutine, wrapped in a coroutine of ours. If ours is dropped before it begins,
    Python warns about it by the provider's name, and must not also warn about the provider's.
    """

    __slots__ = ("_coroutine",)

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def close(self) -> None:
        self._coroutine.close()

    def __del__(self) -> None:
        if sys.getrefcount(self._coroutine) <= _HELD_BY_US_ALONE:
            self._coroutine.close()


def _awaitable(call: CusCallTracker, awaitable: Awaitable[Any]) -> Any:
    call.postpone()
    if not isinstance(awaitable, CoroutineType):
        return awaited(call, awaitable)
    coroutine: Any = awaited(call, _Prepared(awaitable))
    coroutine.__name__, coroutine.__qualname__ = awaitable.__name__, awaitable.__qualname__
    return coroutine


def _generator(call: CusCallTracker, generator: Any) -> Any:
    call.postpone()
    return driven(call, generator)


def _async_generator(call: CusCallTracker, generator: Any) -> Any:
    call.postpone()
    return driven_async(call, generator)


def _watched(
    watch: Callable[[CusCallTracker, Any], None], call: CusCallTracker, answer: Any
) -> Any:
    """Watch the answer while the caller reads it."""
    if call.has_inner:  # The inner call watches the answer already.
        call.end()
        return answer
    with call.reporter.guard:
        watch(call, answer)
    return answer


def _watch_stream(call: CusCallTracker, stream: Any) -> None:
    watch = CusStreamWatch(call, call.arguments, hides_usage=call.hides_usage)
    watch_stream(watch, stream)
    watch_own_reading(watch, stream.response)


def _watch_async_stream(call: CusCallTracker, stream: Any) -> None:
    watch = CusStreamWatch(call, call.arguments, hides_usage=call.hides_usage)
    watch_async_stream(watch, stream)
    watch_own_reading(watch, stream.response)


def _watch_raw(call: CusCallTracker, raw: Any) -> None:
    watch_body(call, call.arguments, raw.http_response)


def _watch_binary(call: CusCallTracker, content: Any) -> None:
    """Sound, or a file: its body may be events that tell usage, or results of a batch."""
    watch_body(call, call.arguments, content.response)


class _Request:
    """The request of a stream helper. It is sent, and counted, when its `async with` begins."""

    __slots__ = ("_call", "_request")

    def __init__(self, call: CusCallTracker, request: Awaitable[Any]) -> None:
        self._call = call
        self._request = request

    def __await__(self) -> Any:
        return awaited(self._call, self._request).__await__()


def _manager(call: CusCallTracker, manager: Any) -> Any:
    """Watch a manager: its block's beginning sends the request, which is the call."""
    call.postpone()
    call.can_clamp = False  # The manager has the arguments already.
    with call.reporter.guard:
        name = next(name for name in vars(manager) if name.endswith(_REQUESTS))
        request = getattr(manager, name)
        if isinstance(request, CoroutineType):
            setattr(manager, name, _Request(call, request))
        else:
            model, unused = call.again(), [call]
            send = partial(_requested, lambda: unused.pop() if unused else model.again(), request)
            setattr(manager, name, send)
    return manager


@passed_over_by_warnings
def _requested(calls: Callable[[], CusCallTracker], request: Callable[[], Any]) -> Any:
    return run(calls(), request, (), {})


def _batch_results(call: CusCallTracker, results: Any) -> Any:
    """Watch the results of a batch: each result is a call, and fetching the results is none."""
    if not isinstance(call, CusBatchLookup):
        call.end()
        return results
    with call.reporter.guard:
        call.watch(results)
    return results


_ANSWERS_OF_CLASSES: Final[dict[str, Answer]] = {
    "Stream": partial(_watched, _watch_stream),
    "AsyncStream": partial(_watched, _watch_async_stream),
    "BaseAPIResponse": partial(_watched, _watch_raw),
    "LegacyAPIResponse": partial(_watched, _watch_raw),
    "HttpxBinaryResponseContent": partial(_watched, _watch_binary),
    "JSONLDecoder": _batch_results,
    "AsyncJSONLDecoder": _batch_results,
}
_ANSWERS_OF_PYTHON: Final[dict[type, Answer]] = {
    GeneratorType: _generator,
    AsyncGeneratorType: _async_generator,
}
_answers: Final[dict[type, Answer]] = {}
