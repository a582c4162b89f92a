"""`python -m aos_sdk doctor`: tells in plain words whether a program can report, and if not why."""

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from typing import Final

from aos_sdk.cus_capture.provider_versions import SUPPORTED, installed_version, is_supported
from aos_sdk.cus_delivery.connection import CusConnection
from aos_sdk.cus_delivery.findings import CusFinding, CusState
from aos_sdk.cus_delivery.spool_checks import adopt_folder, spool_findings
from aos_sdk.cus_delivery.transport import NO_ANSWER, CusAnswer, CusTransport, first_error
from aos_sdk.cus_enforcing.ladder import has_limits, status_reason
from aos_sdk.cus_enforcing.server import CusEnforcementServer, CusReply
from aos_sdk.cus_errors import CusConfigurationError
from aos_sdk.cus_record import CusUsageRecord, encoded_json, generate_call_id
from aos_sdk.cus_reporter import DEFAULT_MAX_QUEUE
from aos_sdk.cus_version import __version__
from aos_sdk.cus_wire import (
    LLM_USAGE_BATCH_PATH,
    LLM_USAGE_PATH,
    CusIngestStatus,
    is_key_secret,
)

__all__ = ["CusFinding", "CusState", "adopt", "doctor", "examine", "main"]

DEFAULT_TIMEOUT_SECONDS: Final = 5.0
# With a larger error than the server corrects, calls appear on wrong days (ruling E3).
_SKEW_TOLERATED_SECONDS: Final = 300.0
_SKEW_UNREMARKABLE_SECONDS: Final = 10.0
# A batch without records: the server checks the key, then refuses the batch and stores nothing.
_NOTHING: Final = b'{"records":[]}'

_NO_ANSWER_MEANS: Final = {
    "NameResolutionError": "its name cannot be resolved",
    "NewConnectionError": "no server listens there",
    "ConnectTimeoutError": "it does not answer in time",
    "ReadTimeoutError": "it does not answer in time",
    "SSLError": "its TLS certificate is not trusted, or it does not use TLS",
    "ProtocolError": "it breaks the connection off",
    "ProxyError": "the proxy that HTTPS_PROXY or ALL_PROXY names is away, or refuses",
    "ProxySchemeUnknown": "HTTPS_PROXY or ALL_PROXY names a proxy of another kind than http",
    "LocationParseError": "it, or the value of HTTPS_PROXY or ALL_PROXY, is not an address",
}


def examine(
    base_url: str | None = None,
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    send_test_event: bool = False,
) -> list[CusFinding]:
    """Check key, server, clock, provider packages and spool. Stores nothing, except one event with
    `send_test_event`. No finding contains the key.
    """
    connection = _connection(base_url)
    if isinstance(connection, CusFinding):
        return [connection, *_packages()]
    findings = [_key(connection)]
    transport = CusTransport(connection, timeout_seconds)
    asked_at = time.time()
    answer = _within(timeout_seconds, lambda: transport.post(LLM_USAGE_BATCH_PATH, _NOTHING))
    findings += [_server(connection, answer), _clock(answer, asked_at), _authentication(answer)]
    findings.append(_limits(connection, timeout_seconds))
    findings += [*_packages(), *spool_findings(connection, DEFAULT_MAX_QUEUE)]
    if send_test_event:
        findings.append(_test_event(transport, timeout_seconds))
    return findings


def adopt(base_url: str | None, folder: str, *, timeout_seconds: float) -> list[CusFinding]:
    """Send the records of a folder as those of the key's integration, on the user's word."""
    connection = _connection(base_url)
    if isinstance(connection, CusFinding):
        return [connection]
    return adopt_folder(connection, folder, timeout_seconds=timeout_seconds)


def _connection(base_url: str | None) -> CusConnection | CusFinding:
    """The connection by the environment, or a finding that says why there is none."""
    try:
        return CusConnection.resolve(None, base_url)
    except (CusConfigurationError, ValueError) as error:
        known = isinstance(error, CusConfigurationError)
        says = str(error) if known else "AOS_BASE_URL cannot be read as an address"
        return CusFinding("configuration", CusState.PROBLEM, says)


def _key(connection: CusConnection) -> CusFinding:
    key = connection.key
    if not is_key_secret(key.secret):
        says = "the key's checksum does not fit: it was cut off or mistyped; copy it whole"
        return CusFinding("key", CusState.PROBLEM, says)
    says = f"well formed, for integration {key.integration_id} of tenant {key.tenant_id}"
    return CusFinding("key", CusState.OK, says)


def _server(connection: CusConnection, answer: CusAnswer) -> CusFinding:
    url = connection.base_url
    if answer.status == NO_ANSWER:
        why = _NO_ANSWER_MEANS.get(answer.reason, f"it cannot be reached ({answer.reason})")
        return CusFinding("server", CusState.PROBLEM, f"no answer from {url}: {why}")
    how = "over TLS, with a trusted certificate" if url.startswith("https:") else "over plain http"
    return CusFinding("server", CusState.OK, f"{url} answers {how}")


def _clock(answer: CusAnswer, asked_at: float) -> CusFinding:
    try:
        server_time = parsedate_to_datetime(answer.date).timestamp()
    except (ValueError, TypeError):
        return CusFinding("clock", CusState.SKIPPED, "the server's answer has no time")
    # Our time is the middle between request and answer; the server's is cut to the second.
    ahead = (asked_at + time.time()) / 2 - (server_time + 0.5)
    where = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) <= _SKEW_UNREMARKABLE_SECONDS:
        return CusFinding("clock", CusState.OK, "this machine's clock agrees with the server's")
    if abs(ahead) <= _SKEW_TOLERATED_SECONDS:
        return CusFinding("clock", CusState.WARNING, f"this machine's clock is {where}")
    says = f"this machine's clock is {where}; calls may be shown on the wrong day: set it right"
    return CusFinding("clock", CusState.PROBLEM, says)


def _authentication(answer: CusAnswer) -> CusFinding:
    check = "authentication"
    if answer.status == NO_ANSWER:
        return CusFinding(check, CusState.SKIPPED, "the server did not answer")
    code, detail, _ = first_error(answer)
    if answer.status == 400 and not code.startswith("http_"):
        return CusFinding(check, CusState.OK, "the server accepts the key")
    if answer.status in (401, 403):
        return CusFinding(check, CusState.PROBLEM, f"the server refuses the key: {detail}")
    if answer.status == 429 or answer.status >= 500:
        says = f"the server cannot take reports just now ({answer.reason})"
        return CusFinding(check, CusState.PROBLEM, says)
    says = f"the server there is not an AOS server ({answer.reason}): is AOS_BASE_URL right?"
    return CusFinding(check, CusState.PROBLEM, says)


def _limits(connection: CusConnection, timeout_seconds: float) -> CusFinding:
    """What `enforce="auto"` does to the calls of a program with this key."""
    check = "limits"
    server = CusEnforcementServer(connection)
    answer = server.configuration(None, timeout_seconds)
    if answer.reply is CusReply.MISSING:
        says = "the server is older than this SDK and knows no limits, so calls are not checked"
        return CusFinding(check, CusState.WARNING, says)
    configuration = answer.content
    if answer.reply is not CusReply.ANSWERED or configuration is None:
        return CusFinding(check, CusState.SKIPPED, "the server did not tell them")
    reason = status_reason(configuration)
    if reason is not None:
        says = f"every call is refused: {reason.message} {reason.action}."
        return CusFinding(check, CusState.PROBLEM, says)
    level = configuration.get("enforcement_level")
    if not has_limits(configuration):
        says = f"no limit stops a call (level {level}), so calls run without a check"
        return CusFinding(check, CusState.OK, says)
    says = f"each call is checked before it runs (level {level}), and may be refused"
    return CusFinding(check, CusState.OK, says)


def _packages() -> list[CusFinding]:
    return [_package(name) for name in SUPPORTED]


def _package(name: str) -> CusFinding:
    version = installed_version(name)
    if version is None:
        return CusFinding(name, CusState.SKIPPED, "not installed")
    if not is_supported(name, version):
        says = f"{version} is not supported, so its calls are not governed: use {SUPPORTED[name]}"
        return CusFinding(name, CusState.PROBLEM, says)
    return CusFinding(name, CusState.OK, f"{version} is supported ({SUPPORTED[name]})")


def _test_event(transport: CusTransport, timeout_seconds: float) -> CusFinding:
    check = "test event"
    call_id = generate_call_id()
    record = CusUsageRecord(
        call_id=call_id,
        model="gpt-4o-mini",
        tokens_in=0,
        tokens_out=0,
        cost_cents=0,
        agent_id="aos-sdk-doctor",
        metadata={"test": True},
    )
    body = encoded_json(record.to_dict())
    answer = _within(timeout_seconds, lambda: transport.post(LLM_USAGE_PATH, body))
    receipt = answer.json() if answer.status == 201 else None
    if isinstance(receipt, dict) and receipt.get("status") == CusIngestStatus.ACCEPTED:
        return CusFinding(check, CusState.OK, f"stored, under the call id {call_id}")
    code, detail, _ = first_error(answer)
    says = f"not stored: {detail or answer.reason} ({code})"
    return CusFinding(check, CusState.PROBLEM, says)


def _within(timeout_seconds: float, ask: Callable[[], CusAnswer]) -> CusAnswer:
    """The answer within the time, whatever the network does: slow look-ups of names and slow
    answers have no deadline of their own.
    """
    answers: list[CusAnswer] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(timeout_seconds + 1.0)
    return answers[0] if answers else CusAnswer(NO_ANSWER, reason="ReadTimeoutError")


def doctor(arguments: argparse.Namespace) -> int:
    """Run the checks, print them, and return the exit code: 0 if there is no problem."""
    timeout_seconds = min(max(arguments.timeout, 0.1), 60.0)
    if arguments.adopt:
        findings = adopt(arguments.base_url, arguments.adopt, timeout_seconds=timeout_seconds)
    else:
        findings = examine(
            arguments.base_url,
            timeout_seconds=timeout_seconds,
            send_test_event=arguments.send_test_event,
        )
    healthy = all(finding.state != CusState.PROBLEM for finding in findings)
    if arguments.json:
        checks = [asdict(finding) for finding in findings]
        sys.stdout.write(json.dumps({"ok": healthy, "sdk": __version__, "checks": checks}) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding.state:<8} {finding.check}: {finding.says}\n")
    return 0 if healthy else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `python -m aos_sdk`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m aos_sdk", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    check = commands.add_parser("doctor", help="check whether this program can report")
    check.add_argument("--base-url", help="the server, instead of AOS_BASE_URL")
    check.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, metavar="SECONDS")
    check.add_argument("--send-test-event", action="store_true", help="store one event of 0 tokens")
    check.add_argument(
        "--adopt",
        metavar="FOLDER",
        help="check nothing, but send the records of a folder that the spool's check named, as those "
        "of this key's integration",
    )
    check.add_argument("--json", action="store_true", help="print JSON, for programs")
    return doctor(parser.parse_args(arguments))
