"""`python -m aos_sdk doctor` says in plain words what keeps a program from reporting."""

import json
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest

from aos_sdk import CusReporter, CusUsageRecord, cus_doctor
from aos_sdk.cus_capture.provider_versions import SUPPORTED, is_supported
from aos_sdk.cus_doctor import CusState, examine, main
from aos_sdk.cus_wire import key_checksum
from tests.sdk.cus_fake_servers import Answer, CusFakeServer, cus_error
from tests.sdk.cus_reports import cus_eventually

DIGITS = "0123456789" * 4 + "abc"
SECRET = f"aosk_{DIGITS}{key_checksum(DIGITS)}"
KEY = f"tenant-1:integration-1:{SECRET}"


class Server(CusFakeServer):
    """A server that accepts the key; its clock is `ahead` seconds before ours."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.answer: Answer = None
        self.ahead = 0.0

    def _reply(self, path: str, body: dict[str, Any]) -> Answer:
        if path.endswith("/batch"):
            return self.answer or (400, cus_error("parse_error"), {})
        return self.answer or (201, {"status": "accepted", "id": "i", "call_id": "c"}, {})

    def _handler(self) -> type[Any]:
        server = self

        class Handler(super()._handler()):  # type: ignore[misc]  # a base that is made
            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(time() + server.ahead, usegmt=True)

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CUS_INTEGRATION_KEY", KEY)
    with Server() as running:
        monkeypatch.setenv("AOS_BASE_URL", running.url)
        yield running


def found(**options: Any) -> dict[str, tuple[str, str]]:
    return {
        finding.check: (finding.state, finding.says)
        for finding in examine(timeout_seconds=2.0, **options)
    }


def test_all_is_in_order(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0

    output = capsys.readouterr().out
    assert "ok       key: well formed, for integration integration-1 of tenant tenant-1\n" in output
    assert f"ok       server: {server.url} answers over plain http\n" in output
    assert "ok       authentication: the server accepts the key\n" in output
    assert "ok       clock: this machine's clock agrees with the server's\n" in output
    assert "ok       openai: " in output
    assert "ok       spool: records wait in " in output
    assert SECRET not in output


DYING = """
import os
from aos_sdk import CusReporter, CusUsageRecord
reporter = CusReporter()
for number in range(3):
    reporter.report(CusUsageRecord(f"dead-{number}", "gpt-4o", 1, 1))
os._exit(0)
"""


def test_the_spool_is_described_with_what_waits_in_it(server: Server, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    assert ": 0 records in 0 rings of running processes, 0 records in 0 rings" in _spool_says(spool)
    assert not list(spool.glob("*/*.ring")), "it has left its own ring behind"

    subprocess.run([sys.executable, "-c", DYING], check=True, timeout=60)
    assert ", 3 records in 1 ring that the next process to report adopts" in _spool_says(spool)

    server.answer = (503, cus_error("unavailable"), {})
    living = CusReporter(batch_interval=0.05)
    living.report(CusUsageRecord("mine", "gpt-4o", 1, 1))
    cus_eventually(lambda: living.stats.adopted == 3)
    assert ": 4 records in 2 rings of running processes, 0 records in 0 " in _spool_says(spool)
    living.shutdown(0.1)


def _spool_says(folder: Path) -> str:
    state, says = found()["spool"]
    assert (state, str(folder) in says) == (CusState.OK, True)
    return says


def test_records_that_no_killed_process_keeps_are_warned_of(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUS_SPOOL_DIR", "off")
    state, says = found()["spool"]
    assert (state, "CUS_SPOOL_DIR turns the spool off" in says) == (CusState.WARNING, True)

    (tmp_path / "file").touch()
    monkeypatch.setenv("CUS_SPOOL_DIR", str(tmp_path / "file"))
    state, says = found()["spool"]
    assert (state, "File exists" in says) == (CusState.WARNING, True)
    assert main(["doctor"]) == 0


def test_nothing_is_stored_unless_it_is_asked_for(server: Server) -> None:
    found()
    assert [(path, body) for path, _, body in server.requests] == [
        ("/api/v1/cus/telemetry/llm-usage/batch", {"records": []})
    ]

    state, says = found(send_test_event=True)["test event"]

    path, _, body = server.requests[-1]
    assert (state, path) == (CusState.OK, "/api/v1/cus/telemetry/llm-usage")
    assert (body["tokens_in"], body["tokens_out"], body["cost_cents"]) == (0, 0, 0)
    assert body["agent_id"] == "aos-sdk-doctor"
    assert body["call_id"] in says


def test_a_test_event_that_is_not_stored_is_a_problem(server: Server) -> None:
    server.answer = (503, cus_error("unavailable", "try again"), {})

    state, says = found(send_test_event=True)["test event"]

    assert (state, says) == (CusState.PROBLEM, "not stored: try again (unavailable)")


def test_programs_get_json(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer = (401, cus_error("authentication_failed", "it is unknown"), {})

    assert main(["doctor", "--json"]) == 1

    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert {
        "check": "authentication",
        "state": "problem",
        "says": "the server refuses the key: it is unknown",
    } in told["checks"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, {}, {}), "the server there is not an AOS server (HTTP 404)"),
        (
            (200, {"welcome": "to the hotel"}, {}),
            "the server there is not an AOS server (HTTP 200)",
        ),
        ((400, {"error": "some proxy"}, {}), "the server there is not an AOS server (HTTP 400)"),
        ((503, cus_error("unavailable"), {}), "the server cannot take reports just now (HTTP 503)"),
    ],
)
def test_whatever_else_answers_is_a_problem(server: Server, answer: Answer, says: str) -> None:
    server.answer = answer

    state, output = found()["authentication"]

    assert state == CusState.PROBLEM
    assert output.startswith(says)


@pytest.mark.parametrize(
    ("ahead", "state", "says"),
    [
        (60, CusState.WARNING, "60 s behind the server's"),
        (-60, CusState.WARNING, "60 s ahead of the server's"),
        (3_600, CusState.PROBLEM, "calls may be shown on the wrong day"),
    ],
)
def test_a_clock_that_is_wrong_is_told(
    server: Server, ahead: float, state: CusState, says: str
) -> None:
    server.ahead = ahead

    clock = found()["clock"]

    assert clock[0] == state
    assert says in clock[1]


@pytest.mark.parametrize(
    ("key", "check", "says"),
    [
        (KEY[:-1], "key", "checksum does not fit"),
        (KEY.replace("9ab", "9aB"), "key", "checksum does not fit"),
        ("tenant-1:aosk_x", "configuration", "the integration key is malformed"),
        ("", "configuration", "no integration key is set"),
    ],
)
def test_a_key_that_cannot_be_right_is_told_without_showing_it(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
    check: str,
    says: str,
) -> None:
    monkeypatch.setenv("CUS_INTEGRATION_KEY", key)

    assert found()[check][0] == CusState.PROBLEM
    assert says in found()[check][1]
    assert main(["doctor"]) == 1
    assert DIGITS[:10] not in capsys.readouterr().out


def test_plain_http_to_another_host_is_a_problem(server: Server) -> None:
    state, says = found(base_url="http://aos.example.com")["configuration"]

    assert state == CusState.PROBLEM
    assert "use https" in says


def test_a_server_that_is_away_is_told_in_words(server: Server) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    findings = found(base_url=url)

    assert findings["server"] == (
        CusState.PROBLEM,
        f"no answer from {url}: no server listens there",
    )
    assert findings["authentication"][0] == CusState.SKIPPED


def test_a_server_without_tls_is_told_in_words(server: Server) -> None:
    url = server.url.replace("http:", "https:")

    says = found(base_url=url)["server"][1]

    assert says.startswith(f"no answer from {url}: its TLS certificate is not trusted")


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("127.0.0.1:1", "is away, or refuses"),
        ("socks5://127.0.0.1:1", "of another kind than http"),
        ("http://[broken", "is not an address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_in_words(
    server: Server, monkeypatch: pytest.MonkeyPatch, proxy: str, says: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    assert found(base_url="https://127.0.0.1:1")["server"][1].endswith(says)


def test_a_server_that_never_answers_costs_no_more_than_its_time(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = monotonic()
        findings = examine(
            f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2, send_test_event=True
        )

    assert monotonic() - began < 10
    assert next(finding.says for finding in findings if finding.check == "server").endswith(
        "it does not answer in time"
    )


def test_a_provider_package_out_of_range_is_a_problem(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"openai": "0.28.1", "anthropic": None}
    monkeypatch.setattr(cus_doctor, "installed_version", versions.get)

    findings = found()

    assert findings["openai"][0] == CusState.PROBLEM
    assert "0.28.1 is not supported" in findings["openai"][1]
    assert findings["anthropic"] == (CusState.SKIPPED, "not installed")


def test_the_supported_ranges_are_those_of_the_distributions_extras() -> None:
    root = Path(cus_doctor.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for package, supported in SUPPORTED.items():
        assert extras[package] == [f"{package}{supported}"]
        assert f"{package}{supported}" in extras["all"]


@pytest.mark.parametrize(
    ("package", "version", "expected"),
    [
        ("openai", "1.65.5", False),
        ("openai", "1.66.0", True),
        ("openai", "3.54.0", True),
        ("openai", "3.60.0rc1", True),
        ("openai", "4.0.0", False),
        ("openai", "odd", False),
        ("anthropic", "0.44.9", False),
        ("anthropic", "0.125.0", True),
        ("anthropic", "2.12.0", True),
        ("anthropic", "3.0", False),
    ],
)
def test_a_release_is_supported_within_its_range(
    package: str, version: str, *, expected: bool
) -> None:
    assert is_supported(package, version) is expected


def test_it_runs_as_a_module_without_any_configuration() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "aos_sdk", "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin"},
    )

    assert run.returncode == 1, run.stderr
    assert json.loads(run.stdout)["checks"][0]["says"].startswith("no integration key is set")
