"""Measure generators: functions of the program that yield a model's answer.

The call runs only during the generator's steps. Between the steps other code runs in the same
thread or task, and its calls do not belong to this call.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_capture.streams import CusStreamWatch
from aos_sdk.cus_scope import enter_call, leave_call_anywhere
from aos_sdk.cus_tracker import CusCallTracker


@passed_over_by_warnings
def driven(call: CusCallTracker, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """The caller's generator, measured: passes `send` and `throw` on, and reads what it yields."""
    call.start()
    if call.gate is not None:
        call.gate.enter(call)
    step: Callable[[Any], Any] = inner.send
    value: Any = None
    with CusStreamWatch(call, call.arguments) as watch:
        while True:
            token = enter_call(call)
            try:
                item = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                leave_call_anywhere(token)
            watch.take(item)
            try:
                value = yield item
                step = inner.send
            except GeneratorExit:
                try:
                    inner.close()
                finally:
                    watch.abandon()
                raise
            except BaseException as error:  # noqa: BLE001 - the generator gets it
                value, step = error, inner.throw


def driven_async(call: CusCallTracker, inner: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """The caller's asynchronous generator, measured."""
    return driving_async(lambda: (call, inner))()


def driving_async(
    begin: Callable[..., tuple[CusCallTracker, AsyncGenerator[Any, Any]]],
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An asynchronous generator function whose generators drive the generator of `begin`."""

    @passed_over_by_warnings
    async def generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call, inner = begin(*args, **kwargs)
        call.start()
        if call.gate is not None:
            await call.gate.enter_later(call)
        step: Callable[[Any], Any] = inner.asend
        value: Any = None
        with CusStreamWatch(call, call.arguments) as watch:
            while True:
                token = enter_call(call)
                try:
                    item = await step(value)
                except StopAsyncIteration:
                    return
                finally:
                    leave_call_anywhere(token)
                watch.take(item)
                try:
                    value = yield item
                    step = inner.asend
                except GeneratorExit:
                    try:
                        await inner.aclose()
                    finally:
                        watch.abandon()
                    raise
                except BaseException as error:  # noqa: BLE001 - the generator gets it
                    value, step = error, inner.athrow

    return generator
