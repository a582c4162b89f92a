"""Keys, addresses and secrets: what is refused, and what shows nowhere."""

import logging
import os
import socket
import time

import pytest

from aos_sdk import (
    CusDeliveryDelayed,
    CusDeliveryError,
    CusLimitExceeded,
    CusReporter,
)
from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.sockets import CusDeadline, open_pool
from aos_sdk.cus_guard import never_raise
from aos_sdk.cus_wire import LLM_USAGE_BATCH_PATH, mask_secrets
from tests.cus_raw_server import RawServer, says
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_eventually, cus_record, cus_report


def test_without_a_key_it_says_so_once_and_is_inert(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "aos_sdk"):
        reporters = [CusReporter(), CusReporter()]
    assert len(caplog.records) == 1
    assert "CUS_INTEGRATION_KEY" in caplog.text
    reporter = reporters[0]
    with reporter.track_call("openai", "gpt-4o") as tracker:
        tracker.set_tokens(1, 1)
    reporter.report(cus_record(1))
    reporter.enable_batching()
    reporter.disable_batching()
    assert (reporter.flush(), reporter.shutdown(), reporter.stats.queued) == (0, 0, 0)
    assert reporter.tenant_id is reporter.integration_id is None
    assert repr(reporter) == "CusReporter(inert)"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
        "https://user:word@example.com",
        "ftp://example.com",
        "http://[broken",
    ],
)
def test_an_address_that_would_give_the_key_away_is_refused(url: str) -> None:
    reporter = CusReporter(KEY, url)
    assert reporter.problem
    assert "verysecret" not in reporter.problem


def test_plain_http_needs_loopback_or_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("http://127.0.0.1:8000", "http://localhost", "http://[::1]:8000", "https://a.b/c/"):
        assert CusConnection.resolve(KEY, url).base_url == url.rstrip("/")
    monkeypatch.setenv("AOS_ALLOW_HTTP", "1")
    assert CusReporter(KEY, "http://example.com").problem is None


def test_key_and_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUS_INTEGRATION_KEY", KEY + "\n")
    monkeypatch.setenv("AOS_BASE_URL", "https://aos.example/")
    connection = CusConnection.resolve(None, None, os.environ)
    assert connection.base_url == "https://aos.example"
    assert CusReporter().tenant_id == "tenant-1"
    assert CusReporter().integration_id == "integration-1"
    monkeypatch.delenv("AOS_BASE_URL")
    assert CusConnection.resolve(None, None, os.environ).base_url == "http://127.0.0.1:8000"


def test_a_server_may_live_below_a_path(
    make_reporter: MakeReporter, collector: CusFakeCollector
) -> None:
    reporter = make_reporter(base_url=f"{collector.url}/inside/aos/")
    reporter.report(cus_record(1))

    assert reporter.flush(5.0) == 0
    assert collector.requests[0][0] == f"/inside/aos{LLM_USAGE_BATCH_PATH}"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_a_server_may_have_an_address_of_the_new_kind(make_reporter: MakeReporter) -> None:
    receipt = {"accepted": 1, "duplicates": 0, "conflicts": 0, "rejected": 0, "results": []}
    with RawServer(says(200, receipt), family=socket.AF_INET6, host="::1") as server:
        reporter = make_reporter(base_url=f"http://[::1]:{server.port}")
        reporter.report(cus_record(1))
        assert reporter.flush(5.0) == 0

    assert server.headers()["host"] == f"[::1]:{server.port}"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://[::1]", "::1", 80),
        ("https://[2001:db8::abcd]/aos", "2001:db8::abcd", 443),
        ("http://127.0.0.1", "127.0.0.1", 80),
        ("HTTPS://AOS.example", "aos.example", 443),
    ],
)
def test_a_server_without_a_port_has_the_usual_one(url: str, host: str, port: int) -> None:
    pool = open_pool(url, CusDeadline())
    assert (pool.host, pool.port) == (host, port)


@pytest.mark.parametrize("url", ["https://\\aos.example", "https://.aos.example", "https://a..b"])
def test_an_address_that_proves_to_be_none_delays_the_records(
    make_reporter: MakeReporter, url: str
) -> None:
    told: list[CusDeliveryError] = []
    reporter = make_reporter(base_url=url, on_error=told.append)
    reporter.report(cus_record(1))
    cus_eventually(lambda: reporter.stats.retries >= 1)

    assert isinstance(told[0], CusDeliveryDelayed)
    assert (reporter.stats.queued, reporter.stats.faults) == (1, 0)


@pytest.mark.parametrize(
    "key", ["x", "a:b", "a:b:c:d", "a::c", "a:b:c d", "a:b:c\r\nX: y", "a:b:ü"]
)
def test_a_malformed_key_is_refused_without_being_shown(key: str) -> None:
    reporter = CusReporter(key)
    assert reporter.problem is not None
    assert "malformed" in reporter.problem


def test_the_key_shows_in_no_repr_log_or_error(
    make_reporter: MakeReporter, collector: CusFakeCollector, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[CusDeliveryError] = []
    collector.script.append((500, {}))
    with caplog.at_level(logging.DEBUG):
        reporter = make_reporter(on_error=told.append)
        cus_report(reporter, 2)
        reporter.flush(5.0)
    shown = [repr(reporter), repr(vars(reporter)), caplog.text, *map(repr, told)]
    assert not [text for text in shown if "verysecret" in text]
    assert "tenant-1" in repr(reporter)


def test_the_guard_lets_limits_and_interrupts_through_and_counts_the_rest() -> None:
    counted: list[int] = []
    guard = never_raise(count=lambda: counted.append(1))
    with guard:
        raise RuntimeError
    for error in (CusLimitExceeded, KeyboardInterrupt):
        with pytest.raises(error), guard:
            raise error
    assert counted == [1]


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdef123456",
        "sk-ant-api03-abcdef",
        "sk-abc*****xyz",
        "aosk_abcdef",
        "tenant:integration:aosk_abcdef",
        "Bearer abcdef.ghi",
        "api_key='abcdefgh'",
        "AKIAABCDEFGHIJKLMNOP",
    ],
)
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    assert mask_secrets(f"before {secret} after").replace("'", "") == "before [masked] after"


def test_masking_a_hostile_text_takes_no_time() -> None:
    began = time.thread_time()
    mask_secrets("a" * 4_000 + "a:" * 2_000)
    assert time.thread_time() - began < 0.5
