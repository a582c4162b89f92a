"""Nothing that costs money is invisible: each method of the packages is captured, counted or free."""

import asyncio
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import anthropic
import openai
import pytest

from aos_sdk import cus_install_middleware
from aos_sdk.cus_capture.request_costs import cost_of_request
from aos_sdk.cus_capture.surfaces import CusProviderCall
from aos_sdk.cus_providers.registry import PROVIDERS
from aos_sdk.cus_providers.requests import CusCost
from aos_sdk.cus_scope import current_call
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_provider_http import anthropic_http, openai_http
from tests.sdk.cus_request_table import table
from tests.sdk.cus_resources import Method, connections_of, methods_in, methods_of
from tests.sdk.cus_scripted_clients import KEY

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = {"openai": openai, "anthropic": anthropic}
EACH_PACKAGE = pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
# Methods that send no request here, and why.
SILENT: Final = {
    "connect": "opens a WebSocket, whose events are captured",
    "for_result": "names what another method fetches",
    "parse_unverified": "reads a webhook",
    "prepare": "reads the program's own files",
    "prepare_directory": "reads the program's own files",
    "thread": "sends by `create`, `parse` and `stream`, turn by turn",
    "tool_runner": "sends by `create`, `parse` and `stream`, turn by turn",
    "unwrap": "reads a webhook",
    "upload_file_chunked": "sends by `create`, `parts.create` and `complete`",
    "verify_signature": "reads a webhook",
}


class Sent(NamedTuple):
    """A request that a method sent, and whether a call was measuring it."""

    verb: str
    path: bytes
    is_governed: bool


class Wire:
    """A transport that notes each request, and refuses it."""

    def __init__(self, package: ModuleType) -> None:
        self.sent: list[Sent] = []
        self._package = package
        self._http = {"openai": openai_http, "anthropic": anthropic_http}[package.__name__]

    def __call__(self, request: Any) -> Any:
        call = current_call()
        is_governed = isinstance(call, CusProviderCall) and call.is_reported
        path = request.url.raw_path.partition(b"?")[0]
        self.sent.append(Sent(request.method, path, is_governed))
        return self._http.Response(418, json={"error": {"message": "refused"}})

    def client(self, prefix: str = "") -> Any:
        names = {"openai": "OpenAI", "anthropic": "Anthropic"}
        kind = getattr(self._package, prefix + names[self._package.__name__])
        http = getattr(self._package, f"Default{prefix}HttpxClient")
        transport = self._http.MockTransport(self)
        client = kind(api_key=KEY, max_retries=0, http_client=http(transport=transport))
        if hasattr(client, "admin_api_key"):
            client.admin_api_key = KEY
        return client

    def ask(self, method: Method, client: Any, view: str = "") -> list[Sent]:
        """What the method sends."""
        self.sent.clear()
        # What it says of its answer, the refusal, is its own affair.
        with warnings.catch_warnings(action="ignore"), suppress(Exception):
            answer = method.call(client, view)
            for begin in ("__enter__", "__iter__"):
                if hasattr(type(answer), begin):
                    getattr(answer, begin)()
                    break
        return list(self.sent)

    async def ask_later(self, method: Method, client: Any) -> list[Sent]:
        self.sent.clear()
        with warnings.catch_warnings(action="ignore"), suppress(Exception):
            answer = method.call(client)
            if hasattr(answer, "__aenter__"):
                await answer.__aenter__()
            else:
                await answer
        return list(self.sent)


def _faults(method: Method, sent: list[Sent]) -> Iterator[str]:
    if not sent and method.name not in SILENT:
        yield f"{method} sent nothing: say why in SILENT, or how to call it"
    for request in sent:
        # All other verbs read or delete what is there.
        if request.verb not in ("POST", "PUT", "PATCH"):
            continue
        cost, where = cost_of_request(request.path), f"{method}, {request.path.decode()},"
        if cost is None:
            yield f"{where} is in no list: say in cus_providers what it costs"
        elif request.is_governed != (cost is CusCost.CAPTURED):
            yield f"{where} is {cost.value} by the lists, and {request.is_governed=}"


@pytest.fixture(autouse=True)
def _governed(recorder: CusRecordingReporter) -> None:
    cus_install_middleware(detect_bypass=False)


@EACH_PACKAGE
def test_every_method_is_captured_counted_or_free(package: ModuleType) -> None:
    wire = Wire(package)
    client = wire.client()
    methods = list(methods_of(package, "SyncAPIResource"))
    assert len(methods) > 40
    faults = [fault for method in methods for fault in _faults(method, wire.ask(method, client))]
    assert "\n".join(faults) == ""


def _costly(package: ModuleType) -> list[str]:
    """The methods of which a request is captured or counted."""
    wire = Wire(package)
    client = wire.client()
    costs = (CusCost.CAPTURED, CusCost.COUNTED)
    return [
        str(method)
        for method in methods_of(package, "SyncAPIResource")
        if any(
            request.verb == "POST" and cost_of_request(request.path) in costs
            for request in wire.ask(method, client)
        )
    ]


@EACH_PACKAGE
def test_so_is_every_asynchronous_method_and_every_raw_view(package: ModuleType) -> None:
    costly = set(_costly(package))
    wire = Wire(package)
    faults: list[str] = []

    async def ask() -> None:
        client = wire.client("Async")
        for method in methods_of(package, "AsyncAPIResource"):
            if str(method).replace("Async", "") in costly:
                faults.extend(_faults(method, await wire.ask_later(method, client)))

    asyncio.run(ask())
    client = wire.client()
    for method in methods_of(package, "SyncAPIResource"):
        for view in ("with_raw_response", "with_streaming_response"):
            if str(method) in costly and hasattr(getattr(method.owner(client), view), method.name):
                faults.extend(_faults(method, wire.ask(method, client, view)))
    assert "\n".join(faults) == ""


@EACH_PACKAGE
def test_every_connection_over_a_websocket_is_looked_on_at(package: ModuleType) -> None:
    unseen = [
        f"{kind.__module__}.{kind.__name__}.{name}"
        for kind in connections_of(package)
        for name in ("recv_bytes", "parse_event", "close")
        if not hasattr(getattr(kind, name), "__wrapped__")
    ]
    assert unseen == []


def test_a_method_that_is_in_no_list_is_found() -> None:
    wire = Wire(openai)

    class Quanta(openai.resources.Models):
        def create(self, *, model: str) -> Any:
            return self._post("/quanta", body={"model": model}, cast_to=object)

    (method,) = methods_in(Quanta)
    (fault,) = _faults(method, wire.ask(method, wire.client()))
    assert "/v1/quanta, is in no list" in fault


def test_a_captured_path_that_nothing_captures_is_found() -> None:
    wire = Wire(openai)

    class Copies(openai.resources.Models):
        def create(self) -> Any:
            # As a request that no method of the package and no `request` of the client makes.
            return self._client._client.post("/v1/chat/completions")

        def count(self) -> None:
            """Sends nothing."""

    create, count = methods_in(Copies)
    (fault,) = _faults(create, wire.ask(create, wire.client()))
    assert "is captured by the lists" in fault
    (fault,) = _faults(count, wire.ask(count, wire.client()))
    assert "sent nothing" in fault


def test_the_documentation_has_the_lists_as_they_are() -> None:
    hint = "Put into docs/sdk.md what `python -m tests.sdk.cus_request_table` prints."
    assert table() in (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8"), hint


def test_no_provider_lists_a_path_twice() -> None:
    paths = [(kind.path, provider.key) for provider in PROVIDERS for kind in provider.requests]
    assert len(paths) == len(set(paths))
