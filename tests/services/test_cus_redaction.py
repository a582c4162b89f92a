"""Redaction: what is known by value, what looks like a secret, through every way out."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from aos_project.cus_task import CusTask, SecretInTask
from integrations.cus_web import redaction
from integrations.cus_web.redaction import (
    RedactingFilter,
    holds_secret,
    redact,
    redact_event,
    redacted_traceback,
    remember_secret,
    remember_settings,
)
from tests.conftest import ROOT

SECRET = 'correct-horse\'battery "staple"'


@pytest.fixture(autouse=True)
def known() -> None:
    remember_secret(SECRET)


_UUIDS = "11111111-1111-1111-1111-111111111111:22222222-2222-2222-2222-222222222222"
_HEX = "0f1e2d3c4b5a69788796a5b4c3d2e1f0a1b2c3d4e5f60718293a4b5c6d7e8f90"
# A text, and what in it is secret.
LOOK_ALIKES = [
    ("sk-proj-abcdefghijklmnop1234", "proj-abcdefghijklmnop1234"),
    ("sk-ant-api03-abcdefghijklmnop", "ant-api03-abcdefghijklmnop"),
    ("Authorization: Bearer abcdefgh.ijklmnop", "abcdefgh.ijklmnop"),
    ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    (f"Authorization: Token {_HEX}", _HEX),
    (f"token {_HEX}", _HEX),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    ("ASIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"),
    ("aws_session_token: FwoGZXIvYXdzEXAMPLE", "FwoGZXIvYXdzEXAMPLE"),
    ("AIzaSyA-1234567890abcdefghijklmnop", "SyA-1234567890abcdefghijklmnop"),
    ("api-key: 0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
    ("a" * 52 + "JQQJ99" + "B" * 26, "a" * 52 + "JQQJ99" + "B" * 26),
    ("ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlLWtleQ==", "QmVkcm9ja0FQSUtleS1leGFtcGxlLWtleQ=="),
    ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0", "JzdWIiOiIxMjM0In0.c2lnbmF0"),
    ("hvs.CAESIJ0123456789abcdefghij", "CAESIJ0123456789abcdefghij"),
    ("aosk_" + "x" * 49, "x" * 49),
    (f"{_UUIDS}:aosk_{'x' * 49}", f"{_UUIDS}:aosk_{'x' * 49}"),
    ("postgres://cus_app:pa55word@db:5432/cus", "pa55word"),
    ("redis://:pa55word@cache/0", "pa55word"),
    ("https://x.blob.core.windows.net/a?sig=abcdefgh%2Bijk", "abcdefgh%2Bijk"),
    ("https://s3/?X-Amz-Signature=0123456789abcdef", "0123456789abcdef"),
    ("password=hunter22", "hunter22"),
    ('{"client_secret": "abcdefgh"}', "abcdefgh"),
]
_WINDOW = 6


def _assert_hidden(masked: str, secret: str) -> None:
    """That the text says something was masked, and shows no six characters of the secret."""
    assert "[masked]" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    parts = {secret[start : start + _WINDOW] for start in range(len(secret) - _WINDOW + 1)}
    assert [part for part in parts if part in masked] == []


@pytest.mark.parametrize(("text", "secret"), LOOK_ALIKES)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    _assert_hidden(redact(f"before {text} after"), secret)


def _says_only_that_it_masked(text: str, _secret: str) -> str:
    return text.replace(" after", " [masked] after")


def _masks_only_the_end(text: str, secret: str) -> str:
    return text.replace(secret[len(secret) * 3 // 4 :], "[masked]")


def _masks_nothing(text: str, _secret: str) -> str:
    return text


@pytest.mark.parametrize("leak", [_masks_nothing, _says_only_that_it_masked, _masks_only_the_end])
@pytest.mark.parametrize(("text", "secret"), LOOK_ALIKES)
def test_each_look_alike_fails_with_a_redactor_that_leaks(
    text: str, secret: str, leak: Callable[[str, str], str]
) -> None:
    assert secret in text

    with pytest.raises(AssertionError):
        _assert_hidden(leak(f"before {text} after", secret), secret)


@pytest.mark.parametrize(
    "text",
    [
        "The integration 4f1c9c1e-0000-4000-8000-000000000000 is enabled.",
        "GET https://api.openai.com/v1/models took 250 ms",
        "sha256 " + "0a" * 32,
        "gpt-4o-2024-08-06 used 1,500 tokens at 10:15:00",
        "postgres://db:5432/cus",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("form", [str, repr, lambda s: __import__("json").dumps({"k": s})])
def test_a_known_secret_is_masked_however_it_is_quoted(form: Any) -> None:
    masked = redact(f"x {form(SECRET)} y")

    assert "horse" not in masked
    assert "staple" not in masked


def test_a_secret_inside_a_longer_one_leaves_no_rest() -> None:
    remember_secret("abcdefgh", "abcdefgh-ijklmnop")

    assert redact("abcdefgh-ijklmnop") == "[masked]"


def test_short_values_are_not_remembered() -> None:
    remember_secret("the", "")

    assert redact("the end") == "the end"


def test_what_is_remembered_is_bounded_and_forgotten_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1e9]
    monkeypatch.setattr("integrations.cus_web.redaction.time.monotonic", lambda: clock[0])
    for number in range(3_000):
        remember_secret(f"canary-number-{number:06}")
    assert len(redaction._remembered) <= 2_000
    assert redact("canary-number-002999") == "[masked]"

    clock[0] += 1_000
    remember_secret("another-secret")

    assert list(redaction._remembered) == ["another-secret"]


def test_the_settings_secrets_are_known(settings: Settings) -> None:
    remember_settings(settings)
    ring_key = settings.CUS_CREDENTIAL_KEYS.split(":")[1]
    password = settings.DATABASES["default"]["PASSWORD"]

    kept = (settings.SECRET_KEY, ring_key, settings.CUS_KEY_HASH_SECRET, settings.CUS_SEAL_SECRET)
    for secret in (*kept, password):
        assert secret
        assert secret not in redact(f"it is {secret}!")


def _fail_in_a_chain() -> None:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise ValueError(f"from {SECRET}") from cause
    except ValueError:
        group = ExceptionGroup(f"all of {SECRET}", [RuntimeError(SECRET), OSError(5, SECRET)])
        group.add_note(f"note {SECRET}")
        raise group  # noqa: B904  (the context is what this is about)


def test_a_chain_of_exceptions_is_masked_whole() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        _fail_in_a_chain()

    text = redacted_traceback(caught.value)

    assert "horse" not in text
    for part in ("KeyError", "ValueError", "direct cause", "RuntimeError", "note", "OSError"):
        assert part in text


def _logged(formatter: logging.Formatter, say: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")  # noqa: LOG001  (one that nothing else writes to)
    logger.addHandler(handler)
    say(logger)
    return stream.getvalue()


def test_a_plain_formatter_writes_no_secret() -> None:
    def say(logger: logging.Logger) -> None:
        logger.info("opened %s for %d", SECRET, 5)
        logger.info("opened %(key)s", {"key": SECRET})
        try:
            _fail_in_a_chain()
        except ExceptionGroup:
            logger.exception("failed with %r", SECRET, stack_info=True)

    text = _logged(logging.Formatter("%(message)s"), say)

    assert "horse" not in text
    assert "opened [masked] for 5" in text
    assert "direct cause" in text


def test_an_events_fields_are_masked_by_name_and_by_value() -> None:
    event = {
        "event": f"opened {SECRET}",
        "api_key": "short",
        "nested": {"list": [SECRET, 5, None], "Password": "pw"},
        "object": KeyError(SECRET),
        "count": 7,
    }

    masked = redact_event(None, "info", event)

    assert masked["event"] == "opened [masked]"
    assert masked["api_key"] == "[masked]"
    assert masked["nested"] == {"list": ["[masked]", 5, None], "Password": "[masked]"}
    assert "horse" not in repr(masked["object"])
    assert masked["count"] == 7


_PROGRAM = """
import django, logging, sys, threading, warnings
django.setup()
from integrations.cus_web.redaction import remember_secret
import structlog
secret = "canary-" + "4711-value-x"
remember_secret(secret)
def fail():
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise ValueError("because " + secret) from error
logging.getLogger("plain").warning("said %s", secret)
structlog.get_logger("structured").warning("event", field=secret, deep={"a": [secret]})
logging.getLogger("django.request").error("request %s", secret)
try:
    fail()
except ValueError:
    logging.getLogger("plain").exception("failed %s", secret)
    structlog.get_logger("structured").exception("failed too")
warnings.warn("warned of " + secret)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


@pytest.mark.parametrize("mode", ["local", "production"])
def test_a_process_says_no_secret_whichever_way_it_speaks(mode: str) -> None:
    environment = {"DJANGO_SETTINGS_MODULE": "aos_project.settings", "CUS_MODE": mode}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    said = ended.stdout + ended.stderr
    assert ended.returncode == 1
    assert "canary" not in said
    for part in ("said", "request", "failed", "failed too", "warned of", "KeyError", "because"):
        assert part in said
    assert said.count("direct cause") == 4  # two logs, a thread, the end


_WORKER = """
import django
django.setup()
from aos_project.celery import app
from integrations.cus_web.redaction import remember_secret
secret = "canary-" + "4711-value-x"
remember_secret(secret)
app.log.setup(loglevel="WARNING", redirect_stdouts=False)
@app.task
def fail():
    raise RuntimeError("provider says no to " + secret)
fail.apply()
"""


def test_a_worker_logs_as_the_product_does() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _WORKER],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "aos_project.settings"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    said = ended.stdout + ended.stderr
    assert "canary" not in said
    assert "provider says no to [masked]" in said


# --- Celery -------------------------------------------------------------------------------------


class _Task(CusTask):
    name = "tests.task"
    sent: list[Any] = []

    def run(self, *args: Any) -> None:
        self.sent.append(args)


def test_a_task_with_a_secret_is_never_sent() -> None:
    from aos_project.celery import app

    task = app.register_task(_Task())
    for args in ([SECRET], [{"x": [SECRET]}], ["sk-proj-abcdefghijklmnop1234"]):
        with pytest.raises(SecretInTask) as caught:
            task.delay(*args)
        assert "horse" not in str(caught.value)
    with pytest.raises(SecretInTask):
        task.apply_async(kwargs={"credential": SECRET})
    assert not holds_secret((["4f1c9c1e-0000-4000-8000-000000000000", 5], {"all": True}))
