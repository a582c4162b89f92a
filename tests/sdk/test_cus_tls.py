"""Delivery over TLS, which every server but a local one needs: same behaviour, and no listener."""

import contextlib
import socket
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from aos_sdk import CusDeliveryDelayed, CusDeliveryError
from aos_sdk.cus_delivery.sockets import CusDeadline, open_pool
from tests.cus_certificates import certificate, serving
from tests.cus_raw_server import Behaviour, RawServer, drip, silence
from tests.sdk.conftest import MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_eventually, cus_record


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return certificate(tmp_path, "localhost")


@pytest.fixture
def secure(file: Path) -> Iterator[CusFakeCollector]:
    with CusFakeCollector(serving(file)) as running:
        yield running


@pytest.fixture
def _trusted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where OpenSSL looks for the system's authorities.
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


@pytest.mark.usefixtures("_trusted")
def test_batches_go_out_over_one_connection(
    secure: CusFakeCollector, make_reporter: MakeReporter
) -> None:
    reporter = make_reporter(base_url=secure.url)
    for number in range(3):
        reporter.report(cus_record(number))
        assert reporter.flush(10.0) == 0

    assert list(secure.stored) == ["call-0", "call-1", "call-2"]
    assert secure.connections == 1


@pytest.mark.usefixtures("_trusted")
def test_a_connection_that_the_server_closed_is_opened_anew(
    secure: CusFakeCollector, make_reporter: MakeReporter
) -> None:
    reporter = make_reporter(base_url=secure.url)
    secure.lose_answers = 1
    reporter.report(cus_record(1))

    assert reporter.flush(10.0) == 0
    assert (list(secure.stored), secure.connections) == (["call-1"], 2)
    assert reporter.stats.duplicates == 1


def _is_refused(reporter_of: MakeReporter, url: str) -> None:
    errors: list[CusDeliveryError] = []
    reporter = reporter_of(base_url=url, on_error=errors.append)
    reporter.report(cus_record(1))
    cus_eventually(lambda: reporter.stats.retries >= 2)

    assert reporter.stats.queued == 1
    assert isinstance(errors[0], CusDeliveryDelayed)
    assert "SSLError" in str(errors[0])


def test_who_is_vouched_for_by_nobody_hears_nothing(
    secure: CusFakeCollector, make_reporter: MakeReporter
) -> None:
    _is_refused(make_reporter, secure.url)
    assert not secure.requests


@pytest.mark.usefixtures("_trusted")
def test_who_is_vouched_for_by_another_name_hears_nothing(
    secure: CusFakeCollector, make_reporter: MakeReporter
) -> None:
    _is_refused(make_reporter, secure.url.replace("localhost", "127.0.0.1"))
    assert not secure.requests


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(silence, id="silent"),
        pytest.param(drip(HEAD + b"X: ", b"x"), id="a header that drips"),
        pytest.param(drip(HEAD + b"Content-Length: 9999\r\n\r\n", b"x"), id="a body that drips"),
    ],
)
@pytest.mark.usefixtures("_trusted")
def test_a_request_ends_at_its_deadline(
    file: Path, make_reporter: MakeReporter, behaviour: Behaviour
) -> None:
    with RawServer(behaviour, tls=serving(file)) as server:
        reporter = make_reporter(base_url=f"https://localhost:{server.port}", timeout=0.4)
        reporter.report(cus_record(1))
        cus_eventually(lambda: reporter.stats.retries >= 2, 40.0)
        assert reporter.stats.queued == 1
        reporter.shutdown(0.1)


@pytest.mark.usefixtures("_trusted")
def test_a_handshake_that_nobody_answers_ends_at_the_deadline_too(
    make_reporter: MakeReporter,
) -> None:
    with RawServer(silence, reads=False) as server:
        reporter = make_reporter(base_url=f"https://localhost:{server.port}", timeout=0.4)
        reporter.report(cus_record(1))
        cus_eventually(lambda: reporter.stats.retries >= 2, 40.0)
        reporter.shutdown(0.1)


# --- Proxies ------------------------------------------------------------------------------------


def _tunnel(client: socket.socket, head: bytes) -> None:
    """What a proxy does that is asked to CONNECT: open the way, and look at nothing on it."""
    host, _, port = head.split(b" ")[1].decode().partition(":")
    with socket.create_connection((host, int(port))) as server:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pour, args=(server, client))
        back.start()
        _pour(client, server)
        back.join()


def _pour(source: socket.socket, into: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            into.sendall(data)
        into.shutdown(socket.SHUT_WR)


@pytest.mark.usefixtures("_trusted")
def test_the_environments_proxy_opens_the_way_and_sees_no_key(
    secure: CusFakeCollector, make_reporter: MakeReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(_tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:love%40ce@127.0.0.1:{proxy.port}")
        reporter = make_reporter(base_url=secure.url)
        reporter.report(cus_record(1))
        assert reporter.flush(10.0) == 0
        reporter.shutdown(1.0)

    assert list(secure.stored) == ["call-1"]
    [request] = proxy.requests
    assert request.startswith(f"CONNECT {secure.url.removeprefix('https://')} ")
    assert b64decode(proxy.headers()["proxy-authorization"].split()[1]) == b"ada:love@ce"
    assert b"aosk_" not in proxy.heads[0]


@pytest.mark.parametrize("exempt", ["example.com, localhost", "localhost:{port}", "*"])
@pytest.mark.usefixtures("_trusted")
def test_a_host_that_needs_no_proxy_is_spoken_to_directly(
    secure: CusFakeCollector,
    make_reporter: MakeReporter,
    monkeypatch: pytest.MonkeyPatch,
    exempt: str,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", exempt.format(port=secure.url.rpartition(":")[2]))
    reporter = make_reporter(base_url=secure.url)
    reporter.report(cus_record(1))

    assert reporter.flush(10.0) == 0
    assert list(secure.stored) == ["call-1"]


@pytest.mark.parametrize("exempt", ["::1", "[::1]"])
def test_an_address_of_the_new_kind_may_need_no_proxy(
    monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:1")
    assert open_pool("https://[::1]", CusDeadline()).proxy is not None
    monkeypatch.setenv("NO_PROXY", exempt)
    assert open_pool("https://[::1]", CusDeadline()).proxy is None


@pytest.mark.parametrize(
    ("userinfo", "said"),
    [
        ("ada", b"ada:"),
        ("ada:love%40ce", b"ada:love@ce"),
        ("ada:%E2%82%AC", "ada:€".encode()),
        ("ada:a%3Ab%FF", b"ada:a:b\xff"),
    ],
)
def test_a_proxy_is_told_who_asks(
    monkeypatch: pytest.MonkeyPatch, userinfo: str, said: bytes
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://{userinfo}@127.0.0.1:1")
    headers = open_pool("https://localhost", CusDeadline()).proxy_headers
    assert b64decode(headers["Proxy-Authorization"].removeprefix("Basic ")) == said


def test_plain_http_goes_through_no_proxy(
    collector: CusFakeCollector, make_reporter: MakeReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    reporter = make_reporter()
    reporter.report(cus_record(1))

    assert reporter.flush(10.0) == 0
    assert list(collector.stored) == ["call-1"]


@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "http://[broken", "127.0.0.1:1"]
)
def test_a_proxy_that_cannot_be_used_delays_the_records(
    secure: CusFakeCollector,
    make_reporter: MakeReporter,
    monkeypatch: pytest.MonkeyPatch,
    proxy: str,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    errors: list[CusDeliveryError] = []
    reporter = make_reporter(base_url=secure.url, on_error=errors.append)
    reporter.report(cus_record(1))
    cus_eventually(lambda: reporter.stats.retries >= 2)

    assert reporter.stats.queued == 1
    assert reporter.stats.faults == 0
    assert isinstance(errors[0], CusDeliveryDelayed)


def test_a_proxy_that_drips_ends_at_the_deadline_too(
    secure: CusFakeCollector, make_reporter: MakeReporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(drip(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        reporter = make_reporter(base_url=secure.url, timeout=0.4)
        reporter.report(cus_record(1))
        cus_eventually(lambda: reporter.stats.retries >= 2, 40.0)
        reporter.shutdown(0.1)
