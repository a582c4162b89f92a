"""Sessions over a WebSocket that no patched package opens count as bypassed."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aos_sdk import cus_install_middleware, cus_uninstall_middleware
from aos_sdk.cus_capture.bypass_transports import watch_of
from tests.sdk.cus_capture_cases import CusRecordingReporter


class ClientProtocol:
    """The part of the `websockets` package that makes a handshake, for both of its clients."""

    def __init__(self, host: str) -> None:
        self.host = host

    def connect(self) -> Any:
        return SimpleNamespace(headers={"Host": self.host})


@pytest.fixture(autouse=True)
def handshake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[ClientProtocol]]:
    """A class of its own, in a module as the package has it."""
    module = ModuleType("websockets.client")
    module.ClientProtocol = type("ClientProtocol", (), dict(vars(ClientProtocol)))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "websockets.client", module)
    yield module.ClientProtocol
    cus_uninstall_middleware()


def _opened_by(package: str, protocol: Any) -> Any:
    """What the protocol says to this package's code."""
    scope: dict[str, Any] = {"__name__": f"{package}.resources.realtime.realtime"}
    exec("def enter(protocol): return protocol.connect()", scope)
    enter: Callable[[Any], Any] = scope["enter"]
    return enter(protocol)


def test_a_programs_own_session_counts_as_bypassed_and_is_named_once(
    handshake: Any, recorder: CusRecordingReporter, caplog: pytest.LogCaptureFixture
) -> None:
    cus_install_middleware()
    for _ in range(2):
        assert handshake("api.openai.com:443").connect().headers == {"Host": "api.openai.com:443"}

    assert watch_of(recorder).snapshot() == (0, 2, {"api.openai.com": 2})
    assert [__file__ in record.getMessage() for record in caplog.records] == [True]


def test_a_session_of_a_patched_package_is_counted_by_its_events(
    handshake: Any, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    _opened_by("openai", handshake("api.openai.com"))
    assert watch_of(recorder).snapshot() == (0, 0, {})


def test_a_session_of_a_package_that_is_not_patched_counts_as_bypassed(
    handshake: Any, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware(patch_openai=False)
    _opened_by("openai", handshake("api.openai.com"))
    assert watch_of(recorder).snapshot() == (0, 1, {"api.openai.com": 1})


def test_a_session_with_anybody_else_is_not_counted(
    handshake: Any, recorder: CusRecordingReporter
) -> None:
    cus_install_middleware()
    handshake("chat.example.com").connect()
    assert watch_of(recorder).snapshot() == (0, 0, {})


def test_uninstalled_the_package_has_its_own_method(
    handshake: Any, recorder: CusRecordingReporter
) -> None:
    original = handshake.connect
    cus_install_middleware()
    assert handshake.connect.__wrapped__ is original
    cus_uninstall_middleware()
    assert handshake.connect is original
