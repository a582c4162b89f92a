"""Settings: loud about what is missing, and strict in production."""

import os
import subprocess
import sys

import pytest
from celery.signals import beat_init, worker_init
from celery.utils.dispatch import Signal
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from pytest_django import Settings

from aos_project import celery  # noqa: F401  (connects its signals)
from aos_project.cus_production import refuse_evidence_owner
from tests.conftest import ROOT


def _settings(**changes: str) -> "subprocess.CompletedProcess[str]":
    """What a process says that reads the settings with these changes to the environment."""
    kept = {name: value for name, value in (os.environ | changes).items() if value}
    command = [sys.executable, "-c", "import aos_project.settings"]
    return subprocess.run(command, env=kept, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "name",
    ["SECRET_KEY", "CUS_CREDENTIAL_KEYS", "CUS_KEY_HASH_SECRET", "DATABASE_URL", "REDIS_URL"],
)
def test_what_is_missing_is_named_with_what_to_do(name: str) -> None:
    read = _settings(**{name: "", "CUS_DATA_DIR": "/nowhere"})

    assert read.returncode != 0
    assert f"{name} is not set. Start everything with `make run`" in read.stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CUS_MODE", "staging", "must be 'production' or 'local'"),
        ("DATABASE_URL", "sqlite:///x", "must be a postgres:// address"),
        ("DATABASE_URL", "mysql://a:b@c/d", "must be a postgres:// address"),
        ("DATABASE_URL", "notaurl", "must be a postgres:// address"),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(name: str, value: str, says: str) -> None:
    assert says in _settings(**{name: value}).stderr


@pytest.mark.parametrize("mode", ["local", "production"])
def test_a_traceback_names_places_and_never_the_values_there(mode: str) -> None:
    program = (
        "import django, logging; django.setup()\n"
        "def fail(secret):\n    raise ValueError('it broke')\n"
        "try:\n    fail('aosk_' + 'x' * 40)\n"
        "except ValueError:\n    logging.getLogger('x').exception('failed')\n"
    )
    settings_module = {"DJANGO_SETTINGS_MODULE": "aos_project.settings", "CUS_MODE": mode}
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings_module,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stderr

    assert "ValueError: it broke" in said
    assert "in fail" in said
    assert "aosk_" not in said


def test_production_never_shows_tracebacks() -> None:
    assert "DEBUG is on in production" in _settings(CUS_MODE="production", DEBUG="1").stderr


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
def test_production_refuses_a_login_that_owns_evidence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_evidence_owner()  # locally one login may do for everything
    settings.LOCAL = False
    refuse_evidence_owner()
    default, owner = connections["default"], connections["owner"]
    default.close()
    monkeypatch.setitem(default.settings_dict, "USER", owner.settings_dict["USER"])
    monkeypatch.setitem(default.settings_dict, "PASSWORD", owner.settings_dict["PASSWORD"])

    with pytest.raises(ImproperlyConfigured, match="owns the usage table"):
        refuse_evidence_owner()


@pytest.mark.django_db(transaction=True, databases=["default", "owner"])
@pytest.mark.parametrize("signal", [worker_init, beat_init], ids=["worker", "beat"])
def test_worker_and_beat_do_not_start_as_who_owns_evidence(
    signal: Signal, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOCAL = False
    signal.send(sender=None)
    default, owner = connections["default"], connections["owner"]
    default.close()
    monkeypatch.setitem(default.settings_dict, "USER", owner.settings_dict["USER"])
    monkeypatch.setitem(default.settings_dict, "PASSWORD", owner.settings_dict["PASSWORD"])

    with pytest.raises(SystemExit, match="owns the usage table"):
        signal.send(sender=None)
    default.close()


@pytest.mark.django_db(transaction=True)
def test_a_commit_is_on_disk_before_it_is_acknowledged() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("on",)
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("30s",)
