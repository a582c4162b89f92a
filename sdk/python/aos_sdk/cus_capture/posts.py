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
_OPTIONS_AT: Final = 2  # of the positional arguments: the client, `cast_to`, the options
_FIELDS_OF_CHUNKS: Final = frozenset({"choices", "usage"})


class CusPost(NamedTuple):
    """A request that is a call, with the arguments to send."""

    call: CusProviderCall
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Prepare = Callable[[tuple[Any, ...], dict[str, Any]], CusPost | None]


def governing_requests(original: Function, prepare: Prepare) -> Function:
    """The `request` of a package's clients, governed where it is no part of another call."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        @passed_over_by_warnings
        async def governed_later(*args: Any, **kwargs: Any) -> Any:
            post = None if is_part_of_a_call() else prepare(args, kwargs)
            if post is None:
                return await original(*args, **kwargs)
            return await run(post.call, original, post.args, post.kwargs)

        return governed_later

    @functools.wraps(original)
    @passed_over_by_warnings
    def governed(*args: Any, **kwargs: Any) -> Any:
        post = None if is_part_of_a_call() else prepare(args, kwargs)
        if post is None:
            return original(*args, **kwargs)
        return run(post.call, original, post.args, post.kwargs)

    return governed


def prepare_post(
    args: tuple[Any, ...], kwargs: dict[str, Any], configuration: CusConfiguration
) -> CusPost | None:
    """The call that this `request` makes; None if its path is not one of a model's work."""
    is_positional = len(args) > _OPTIONS_AT
    options = args[_OPTIONS_AT] if is_positional else kwargs["options"]
    surface = surface_of_path(options.method, options.url)
    if surface is None:
        return None
    client, arguments = args[0], _arguments_of(options)
    kind = KINDS[surface.role]
    if not _may_ask_for_usage(options, args, kwargs):
        surface = surface._replace(can_inject=False)
    call = prepare_call(
        surface, client, arguments, configuration, configuration.reporter, kind=kind
    )
    if call is None:
        return None
    if call.arguments is not arguments:
        options = copy.copy(options)
        options.json_data = call.arguments
        if is_positional:
            args = (*args[:_OPTIONS_AT], options, *args[_OPTIONS_AT + 1 :])
        else:
            kwargs = {**kwargs, "options": options}
    return CusPost(call, args, kwargs)


def _arguments_of(options: Any) -> dict[str, Any]:
    body, extra = options.json_data, getattr(options, "extra_json", None)
    arguments = body if isinstance(body, dict) else {}
    return {**arguments, **extra} if isinstance(extra, Mapping) else arguments


def _may_ask_for_usage(options: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the stream has chunks of the package's own classes, from which the chunk that only the
    SDK asked for can be hidden.
    """
    headers = options.headers
    is_raw = isinstance(headers, Mapping) and RAW_RESPONSE_HEADER in headers
    if is_raw or not kwargs.get("stream") or getattr(options, "extra_json", None):
        return False
    of_stream = get_args(kwargs.get("stream_cls"))
    chunk = of_stream[0] if of_stream else kwargs.get("cast_to", args[1] if len(args) > 1 else None)
    return set(getattr(chunk, "model_fields", ())) >= _FIELDS_OF_CHUNKS
