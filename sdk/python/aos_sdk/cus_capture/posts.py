"""Requests that a program makes by a client's own `post` or `request`, past the package's methods.

litellm and dspy call so. Every method of a provider's package sends by the same `request`: within a
governed method it passes unmeasured, because the method is the call.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, get_args

from aos_sdk.cus_capture.answers import run
from aos_sdk.cus_capture.frames import passed_over_by_warnings
from aos_sdk.cus_capture.kinds import KINDS
from aos_sdk.cus_capture.surfaces import (
    RAW_RESPONSE_HEADER,
    CusProviderCall,
    is_part_of_a_call,
    prepare_call,
)
from aos_sdk.cus_configuration import CusConfiguration
from aos_sdk.cus_providers.paths import surface_of_path

Function = Callable[..., Any]

CLIENTS_MODULE: Final = "_base_client"
CLIENT_CLASSES: Final = ("SyncAPIClient", "AsyncAPIClient")
REQUEST: Final = "request"
_FIELDS_OF_CHUNKS: Final = frozenset({"choices", "usage"})


class CusClientRequest(NamedTuple):
    """What a client's `request` was called with."""

    client: Any
    cast_to: Any
    options: Any
    stream: bool
    stream_cls: Any


class CusPost(NamedTuple):
    """A request that is a call, with the options to send."""

    call: CusProviderCall
    options: Any


Prepare = Callable[[CusClientRequest], CusPost | None]


def governing_requests(original: Function, prepare: Prepare) -> Function:
    """The `request` of a package's clients, governed where it is no part of another call.

    Within a governed method the arguments pass by name, which takes no memory. Old releases take
    more arguments (`rest`).
    """
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        @passed_over_by_warnings
        async def governed_later(
            self: Any, cast_to: Any, options: Any, *rest: Any, stream: Any = False,
            stream_cls: Any = None, **more: Any,
        ) -> Any:  # fmt: skip
            if is_part_of_a_call() and not rest and not more:
                return await original(self, cast_to, options, stream=stream, stream_cls=stream_cls)
            post = prepare(CusClientRequest(self, cast_to, options, stream, stream_cls))
            more.update(stream=stream, stream_cls=stream_cls)
            if post is None:
                return await original(self, cast_to, options, *rest, **more)
            args = (self, cast_to, post.options, *rest)
            return await run(post.call, original, args, more)

        return governed_later

    @functools.wraps(original)
    @passed_over_by_warnings
    def governed(
        self: Any, cast_to: Any, options: Any, *rest: Any, stream: Any = False,
        stream_cls: Any = None, **more: Any,
    ) -> Any:  # fmt: skip
        if is_part_of_a_call() and not rest and not more:
            return original(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        post = prepare(CusClientRequest(self, cast_to, options, stream, stream_cls))
        more.update(stream=stream, stream_cls=stream_cls)
        if post is None:
            return original(self, cast_to, options, *rest, **more)
        return run(post.call, original, (self, cast_to, post.options, *rest), more)

    return governed


def prepare_post(request: CusClientRequest, configuration: CusConfiguration) -> CusPost | None:
    """The call that a request makes; None if its path is not one of a model's work, or if it is a
    part of another call.
    """
    options = request.options
    surface = surface_of_path(options.method, options.url)
    if surface is None:
        return None
    arguments, kind = _arguments_of(options), KINDS[surface.role]
    if not _may_ask_for_usage(request):
        surface = surface._replace(can_inject=False)
    call = prepare_call(
        surface, request.client, arguments, configuration, configuration.reporter, kind=kind
    )
    if call is None:
        return None
    if call.can_clamp:  # The body is the program's own.
        call.arguments = {**call.arguments}
    if call.arguments is not arguments:
        options = copy.copy(options)
        options.json_data = call.arguments
    return CusPost(call, options)


def _arguments_of(options: Any) -> dict[str, Any]:
    body, extra = options.json_data, getattr(options, "extra_json", None)
    arguments = body if isinstance(body, dict) else {}
    return {**arguments, **extra} if isinstance(extra, Mapping) else arguments


def _may_ask_for_usage(request: CusClientRequest) -> bool:
    """Whether the stream has chunks of the package's own classes, from which the chunk that only the
    SDK asked for can be hidden.
    """
    headers = request.options.headers
    is_raw = isinstance(headers, Mapping) and RAW_RESPONSE_HEADER in headers
    if is_raw or not request.stream or getattr(request.options, "extra_json", None):
        return False
    of_stream = get_args(request.stream_cls)
    chunk = of_stream[0] if of_stream else request.cast_to
    return set(getattr(chunk, "model_fields", ())) >= _FIELDS_OF_CHUNKS
