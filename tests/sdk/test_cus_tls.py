"""Over TLS, as every server but a local one is spoken to: nothing else changes, and nobody else listens."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aos_sdk import CusDeliveryDelayed, CusDeliveryError
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
        cus_eventually(lambda: reporter.stats.retries >= 2, 20.0)
        assert reporter.stats.queued == 1
        reporter.shutdown(0.1)


@pytest.mark.usefixtures("_trusted")
def test_a_handshake_that_nobody_answers_ends_at_the_deadline_too(
    make_reporter: MakeReporter,
) -> None:
    with RawServer(silence, reads=False) as server:
        reporter = make_reporter(base_url=f"https://localhost:{server.port}", timeout=0.4)
        reporter.report(cus_record(1))
        cus_eventually(lambda: reporter.stats.retries >= 2, 20.0)
        reporter.shutdown(0.1)
