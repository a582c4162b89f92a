"""What a customer names is called only if it is outside, and only where it was checked (C6)."""

import contextlib
import gzip
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.cus_providers import safe_http
from integrations.cus_providers.safe_addresses import AddressRefused, UrlRefused, parse_target
from integrations.cus_providers.safe_http import (
    MAX_BYTES,
    CertificateRefused,
    HeaderRefused,
    HostUnknown,
    ProviderTimeout,
    ProviderUnreachable,
    Resolver,
    SafeHttp,
)
from integrations.cus_web.errors import CusError
from tests.cus_certificates import certificate, serving
from tests.cus_raw_server import RawServer, drip, flood, http_answer, says, sends, silence
from tests.trust.cus_hostile_urls import addresses_inside, hostile_places

SECRET = "sk-canary-4f1e8a7b2c9d"
HEADERS = {"Authorization": f"Bearer {SECRET}"}
OUTSIDE = "93.184.216.34"
# What a patient test waits for something that takes a fraction of it.
PATIENCE = 30.0
_HEAD = b"HTTP/1.1 200 OK\r\n"


class _Connections:
    """Every connection that this thread begins; those that leave the machine are refused."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._thread = threading.get_ident()
        self._on = True

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on or event != "socket.connect" or threading.get_ident() != self._thread:
            return
        self.seen.append(str(arguments[1][0]))
        if arguments[1][0] != "127.0.0.1":
            raise ConnectionRefusedError

    def stop(self) -> None:
        # A hook can't be taken off again.
        self._on = False


@pytest.fixture
def connections() -> Iterator[_Connections]:
    recorder = _Connections()
    sys.addaudithook(recorder.hook)
    yield recorder
    recorder.stop()


@pytest.fixture
def canary() -> Iterator[RawServer]:
    """Listens on every address of this machine; no request must ever arrive."""
    host, family = ("::", socket.AF_INET6) if socket.has_dualstack_ipv6() else ("", socket.AF_INET)
    with RawServer(silence, host=host, family=family) as server:
        yield server


def _open_to(server: RawServer, **changes: Any) -> SafeHttp:
    """A client whose operator allows exactly this server."""
    fields: dict[str, Any] = {
        "private_hosts": frozenset({f"127.0.0.1:{server.port}"}),
        "plain_http": True,
    }
    return SafeHttp(**(fields | changes))


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_hundreds_of_hostile_urls_reach_nothing(
    scheme: str, canary: RawServer, connections: _Connections
) -> None:
    places = hostile_places(canary.port)
    assert len(set(places)) > 300
    http = SafeHttp(plain_http=True)

    for place in places:
        with pytest.raises((UrlRefused, AddressRefused, HostUnknown)) as refusal:
            http.get(f"{scheme}://{place}/v1/models?key={SECRET}", HEADERS)
        assert SECRET not in repr(refusal.value)
        assert "user:password" not in repr(refusal.value)

    assert connections.seen == []
    assert canary.connections == 0


def _always(answer: list[str]) -> Resolver:
    return lambda _host, _port: answer


def test_a_name_that_resolves_to_the_inside_is_not_called(
    canary: RawServer, connections: _Connections
) -> None:
    for inside in addresses_inside():
        for answer in ([inside], [OUTSIDE, inside], [inside, OUTSIDE]):
            http = SafeHttp(resolve=_always(answer))
            with pytest.raises(AddressRefused):
                http.get(f"https://provider.example:{canary.port}/", HEADERS)

    assert connections.seen == []
    assert canary.connections == 0


def test_a_name_that_resolves_outside_first_and_inside_then_is_called_outside_alone(
    canary: RawServer, connections: _Connections
) -> None:
    answers = iter([[OUTSIDE], ["127.0.0.1"], ["127.0.0.1"]])
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    with pytest.raises(ProviderUnreachable):
        SafeHttp(resolve=resolve).get(f"https://rebind.example:{canary.port}/", HEADERS)

    assert asked == ["rebind.example"]
    assert connections.seen == [OUTSIDE]
    assert canary.connections == 0


def test_a_redirect_to_each_of_them_is_not_followed(
    canary: RawServer, connections: _Connections
) -> None:
    places = [place for place in hostile_places(canary.port) if place.isascii()]
    locations = [f"http://{place}/" for place in places if place.isprintable()]
    answers = iter(locations)

    def redirect(client: socket.socket, _head: bytes) -> None:
        client.sendall(http_answer(302, b"moved", [("Location", next(answers))]))

    with RawServer(redirect) as server:
        http = _open_to(server)
        for _ in locations:
            assert http.get(f"{server.url}/v1/models", HEADERS).status == 302

    assert set(connections.seen) == {"127.0.0.1"}
    assert server.connections == len(locations) > 200
    assert canary.connections == 0


def test_nothing_is_sent_to_a_peer_that_is_not_the_one_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        safe_http._Socket, "getpeername", lambda _socket: ("127.0.0.9", 443), raising=False
    )
    with RawServer(says(200)) as server, pytest.raises(AddressRefused):
        _open_to(server).get(server.url, HEADERS)

    assert server.heads == []


def test_proxies_and_netrc_of_the_environment_are_not_used(
    canary: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")

    with RawServer(says(200, b"{}")) as server:
        assert _open_to(server).get(server.url, {}).status == 200

    assert "authorization" not in server.headers()
    assert canary.connections == 0


@pytest.mark.parametrize(
    ("listed", "allowed"),
    [
        ("127.0.0.1:{port}", True),
        ("127.0.0.1", True),
        ("127.0.0.1:1", False),
        ("127.0.0.2", False),
        ("0.0.1", False),
    ],
)
def test_an_operator_allows_private_hosts_by_their_exact_name(listed: str, allowed: bool) -> None:
    with RawServer(says(200, b"{}")) as server:
        http = _open_to(server, private_hosts=frozenset({listed.format(port=server.port)}))
        if allowed:
            assert http.get(server.url, HEADERS).status == 200
        else:
            with pytest.raises(AddressRefused, match="CUS_ALLOWED_PRIVATE_HOSTS"):
                http.get(server.url, HEADERS)
    assert server.connections == allowed


@pytest.mark.parametrize(
    "metadata",
    [
        "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0",
        "fd00:ec2::254", "fd20:ce::254", "fe80::1", "::ffff:169.254.169.254", "224.0.0.1",
    ],
)  # fmt: skip
def test_not_even_an_operators_word_opens_metadata(
    metadata: str, connections: _Connections
) -> None:
    http = SafeHttp(
        private_hosts=frozenset({"llm.internal"}), resolve=lambda _host, _port: [metadata]
    )
    with pytest.raises(AddressRefused):
        http.get("https://llm.internal/v1/models", HEADERS)
    assert connections.seen == []


def test_http_without_tls_needs_the_operators_word() -> None:
    with RawServer(says(200)) as server:
        with pytest.raises(UrlRefused, match="https"):
            _open_to(server, plain_http=False).get(server.url, HEADERS)
    assert server.connections == 0


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://API.OpenAI.com/v1", ("https", "api.openai.com", 443, "/v1")),
        ("https://bücher.example./x?a=1", ("https", "xn--bcher-kva.example", 443, "/x?a=1")),
        ("https://[2606:4700::1111]:8443", ("https", "2606:4700::1111", 8443, "/")),
        ("HTTPS://8.8.8.8", ("https", "8.8.8.8", 443, "/")),
        ("https://my_llm.example:444?x", ("https", "my_llm.example", 444, "/?x")),
    ],
)
def test_an_honest_address_is_taken_apart(url: str, parts: tuple[str, str, int, str]) -> None:
    target = parse_target(url)
    assert (target.scheme, target.host, target.port, target.path) == parts
    assert parse_target(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "https:///x", "ftp://example.com", "file:///etc/passwd", "//example.com",
        "https://example.com:0", "https://example.com:65536", "https://example.com:1:2",
        "https://example.com/#x", "https://exa mple.com", "https://example.com/ü",
        "https://-a.example", "https://a..example", "https://[::1", "https://[v1.x]",
        "https://" + "a" * 64 + ".example", "https://example.com/" + "a" * 2_050,
        "https://xn--", "https://\ud800.example", "https://1.2.3.4.5", "https://0x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        parse_target(url)
    assert len(url) < 12 or url not in str(refusal.value)


# --- TLS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("name", ["provider.test", "somebody.test"])
def test_tls_verifies_the_name_though_the_connection_goes_to_an_address(
    tmp_path: Path, name: str, trusted: bool
) -> None:
    file = certificate(tmp_path, name)

    with RawServer(says(200, b"{}"), tls=serving(file)) as server:
        http = SafeHttp(
            private_hosts=frozenset({"provider.test"}),
            ca_file=str(file) if trusted else None,
            resolve=lambda _host, _port: ["127.0.0.1"],
        )
        url = f"https://provider.test:{server.port}/"
        if trusted and name == "provider.test":
            assert http.get(url, HEADERS).status == 200
        else:
            with pytest.raises(CertificateRefused):
                http.get(url, HEADERS)

    assert server.names == ["provider.test"]
    assert bool(server.heads) == (trusted and name == "provider.test")


@pytest.mark.timeout(PATIENCE)
def test_a_body_that_drips_through_tls_ends_at_the_deadline_too(tmp_path: Path) -> None:
    file = certificate(tmp_path, "provider.test")
    dripping = drip(_HEAD + b"Content-Length: 9999\r\n\r\n", b"x")

    with RawServer(dripping, tls=serving(file)) as server:
        http = SafeHttp(
            private_hosts=frozenset({"provider.test"}),
            ca_file=str(file),
            resolve=lambda _host, _port: ["127.0.0.1"],
        )
        with pytest.raises(ProviderTimeout):
            http.get(f"https://provider.test:{server.port}/", HEADERS, seconds=1)


# --- Time and size ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(silence, id="silent"),
        pytest.param(drip(b"HTTP/1.1 200 O", b"K"), id="status dripping"),
        pytest.param(drip(_HEAD, b"X-A: 1\r\n"), id="headers dripping"),
        pytest.param(drip(_HEAD + b"X-A: ", b"1"), id="one header dripping"),
        pytest.param(drip(_HEAD + b"Content-Length: 9999\r\n\r\n", b"x"), id="body dripping"),
        pytest.param(drip(_HEAD + b"\r\n", b"x"), id="unbounded body dripping"),
        pytest.param(
            drip(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="chunks"
        ),
        pytest.param(drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="continuing for ever"),
    ],
)
@pytest.mark.timeout(PATIENCE)
def test_one_deadline_covers_all_that_a_server_can_draw_out(behaviour: Any) -> None:
    with RawServer(behaviour) as server:
        with pytest.raises((ProviderTimeout, ProviderUnreachable)) as failure:
            _open_to(server).get(server.url, HEADERS, seconds=0.5)
    assert SECRET not in repr(failure.value)
    assert failure.value.__cause__ is None


@pytest.mark.timeout(PATIENCE)
def test_a_handshake_that_never_ends_ends_at_the_deadline() -> None:
    with RawServer(silence, reads=False) as server:
        http = _open_to(server)
        with pytest.raises(ProviderTimeout):
            http.get(f"https://127.0.0.1:{server.port}", HEADERS, seconds=0.5)


@pytest.mark.timeout(PATIENCE)
def test_a_resolver_that_never_answers_is_not_waited_for() -> None:
    answered = threading.Event()

    def resolve(_host: str, _port: int) -> list[str]:
        answered.wait(PATIENCE)
        return [OUTSIDE]

    with pytest.raises(ProviderTimeout):
        SafeHttp(resolve=resolve).get("https://slow.example/", HEADERS, seconds=0.2)
    answered.set()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(_HEAD + b"Content-Length: 1000000000\r\n\r\n", id="a gigabyte"),
        pytest.param(_HEAD + b"\r\n", id="endless"),
        pytest.param(
            _HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n", id="one chunk for ever"
        ),
    ],
)
@pytest.mark.timeout(PATIENCE)
def test_of_a_body_without_end_only_the_beginning_is_read(head: bytes) -> None:
    with RawServer(flood(head)) as server:
        answer = _open_to(server).get(server.url, HEADERS)
    assert answer.body == b"x" * MAX_BYTES
    assert answer.cut


def test_a_compressed_body_is_unpacked_no_further_than_the_limit() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    assert len(bomb) < MAX_BYTES
    with RawServer(says(200, bomb, [("Content-Encoding", "gzip")])) as server:
        answer = _open_to(server).get(server.url, HEADERS)
    assert server.headers()["accept-encoding"] == "identity"
    assert (len(answer.body), answer.cut) == (MAX_BYTES, True)

    with RawServer(says(200, gzip.compress(b"[]"), [("Content-Encoding", "gzip")])) as server:
        assert _open_to(server).get(server.url, HEADERS).body == b"[]"


def test_a_connection_that_breaks_off_says_so() -> None:
    def hang_up(client: socket.socket, _head: bytes) -> None:
        client.sendall(_HEAD + b"Content-Length: 100\r\n\r\nhalf")

    with RawServer(hang_up) as server, pytest.raises(ProviderUnreachable):
        _open_to(server).get(server.url, HEADERS)


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with RawServer(silence) as server:
        http = _open_to(server)
    with pytest.raises(ProviderUnreachable):
        http.get(server.url, HEADERS)


def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer(
    connections: _Connections,
) -> None:
    with RawServer(says(200, b"{}")) as server:
        http = SafeHttp(
            private_hosts=frozenset({"llm.internal"}),
            plain_http=True,
            resolve=lambda _host, _port: ["::1", "127.0.0.1"],
        )
        assert http.get(f"http://llm.internal:{server.port}/", HEADERS).status == 200
    assert connections.seen == ["::1", "127.0.0.1"]
    assert server.headers()["host"] == f"llm.internal:{server.port}"


@pytest.mark.parametrize("value", ["two\r\nlines", "nul\0", "ключ", "tab\there"])
def test_a_header_that_could_be_another_one_is_refused_without_quoting_it(value: str) -> None:
    with RawServer(says(200)) as server, pytest.raises(HeaderRefused) as refusal:
        _open_to(server).get(server.url, {"Authorization": value})
    assert value not in str(refusal.value)
    assert server.connections == 0


def test_every_error_is_one_of_ours() -> None:
    garbage = [b"", b"\0\0\0", b"HTTP/9.9 xyz\r\n\r\n", b"HTTP/1.1 99999 X\r\n\r\n", b"SSH-2.0\r\n"]
    garbage += [_HEAD + b"Content-Length: -5\r\n\r\n", _HEAD + b"X" * 70_000 + b"\r\n\r\n"]
    garbage += [_HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", _HEAD + b"A: 1\r\n" * 200]
    for text in garbage:
        with RawServer(sends(text)) as server:
            with contextlib.suppress(CusError):
                _open_to(server).get(server.url, HEADERS, seconds=5)
        assert server.connections == 1
