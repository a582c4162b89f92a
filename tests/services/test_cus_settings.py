"""Settings: loud about what is missing, and strict in production."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery.signals import beat_init, worker_init
from celery.utils.dispatch import Signal
from django.conf import settings as settings_of_tests
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from pytest_django import Settings

from aos_project import celery  # noqa: F401  (connects its signals)
from aos_project.cus_production import refuse_evidence_owner
from integrations.cus_credentials.envelope import KeyRing, KeyRingInvalid
from tests.conftest import ROOT


def _settings(
    code: str = "import aos_project.settings", **changes: str
) -> "subprocess.CompletedProcess[str]":
    """What a process says that reads the settings with these changes to the environment."""
    kept = {name: value for name, value in (os.environ | changes).items() if value}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=kept, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "name",
    [
        *("SECRET_KEY", "CUS_CREDENTIAL_KEYS", "CUS_KEY_HASH_SECRET", "CUS_SEAL_SECRET"),
        *("DATABASE_URL", "REDIS_URL"),
    ],
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


@pytest.mark.parametrize(
    ("mode", "value", "is_open"),
    [
        ("local", "", True),
        ("local", "0", False),
        ("production", "", False),
        ("production", "1", True),
    ],
)
def test_the_apis_document_is_closed_in_production_unless_it_is_opened(
    mode: str, value: str, is_open: bool
) -> None:
    read = _settings(
        "from aos_project.settings import CUS_OPEN_API_DOCS; print(CUS_OPEN_API_DOCS)",
        CUS_MODE=mode,
        CUS_OPEN_API_DOCS=value,
    )

    assert read.stdout.strip() == str(is_open), read.stderr


def test_the_example_names_every_variable_that_is_read_and_no_other() -> None:
    modules = ("settings.py", "cus_environment.py")
    code = "".join((ROOT / "aos_project" / module).read_text() for module in modules)
    read = re.findall(r"""(?:env|env\.\w+|secret)\(\s*["']([A-Z_]+)["']""", code)

    named = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert sorted(named) == sorted(set(read))


def test_the_page_for_operators_names_every_job_that_beat_starts() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    tasks = {str(job["task"]) for job in settings_of_tests.CELERY_BEAT_SCHEDULE.values()}

    assert tasks
    for task in tasks:
        assert f"| `{task.rpartition('.')[2]}` | " in page


_SECRETS = (
    "SECRET_KEY",
    "CUS_CREDENTIAL_KEYS",
    "CUS_KEY_HASH_SECRET",
    "CUS_SEAL_SECRET",
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "REDIS_URL",
)


def test_every_secret_may_stand_in_a_file_which_comes_before_the_variable(tmp_path: Path) -> None:
    files = {}
    for name in _SECRETS:
        (tmp_path / name).write_text(os.environ[name] + "\n")
        files[f"{name}_FILE"] = str(tmp_path / name)

    for elsewhere in (dict.fromkeys(_SECRETS, ""), {"SECRET_KEY": "overruled"}):
        read = _settings(
            **files,
            **elsewhere,
            CUS_DATA_DIR="/nowhere",
            code="import aos_project.settings as s; print(s.SECRET_KEY, s.DATABASES, s.REDIS_URL)",
        )
        assert read.returncode == 0, read.stderr
        assert os.environ["SECRET_KEY"] in read.stdout
        assert os.environ["REDIS_URL"] in read.stdout
        assert repr(dict(settings_of_tests.DATABASES["owner"])["USER"]) in read.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "can't be read: No such file"), ("", "is empty"), (b"\xff\xfe\xff", "is not text")],
)
def test_a_secrets_file_that_is_none_is_named(
    tmp_path: Path, content: str | bytes | None, says: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    read = _settings(SECRET_KEY_FILE=str(path))

    assert read.returncode != 0
    assert "SECRET_KEY_FILE is" in read.stderr
    assert says in read.stderr


def test_a_key_ring_in_a_file_may_have_a_line_for_each_key() -> None:
    ring = os.environ["CUS_CREDENTIAL_KEYS"]
    other = "old:" + ring.partition(":")[2]

    parsed = KeyRing.parse(f"{ring}\n{other}\n")

    assert list(parsed.keys) == [ring.partition(":")[0], "old"]
    with pytest.raises(KeyRingInvalid):
        KeyRing.parse(f"{ring},{ring}")


@pytest.mark.parametrize("mode", ["local", "production"])
def test_a_traceback_names_places_and_never_the_values_there(mode: str) -> None:
    program = (
        "import django, logging; django.setup()\n"
        "def fail(secret):\n    raise ValueError('it broke')\n"
        "try:\n    fail('aosk_' + 'x' * 40)\n"
        "except ValueError:\n    logging.getLogger('x').exception('failed')\n"
    )
    ended = _settings(program, DJANGO_SETTINGS_MODULE="aos_project.settings", CUS_MODE=mode)

    assert ended.returncode == 0
    assert "ValueError: it broke" in ended.stderr
    assert "in fail" in ended.stderr
    assert "aosk_" not in ended.stderr


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


def test_a_process_looks_for_garbage_only_after_it_has_started() -> None:
    """What a start loads stays: looking through it took a fifth of the start."""
    code = (
        "import django, gc; django.setup();"
        "print(gc.isenabled(), gc.get_freeze_count(), gc.get_stats()[2]['collections'])"
    )

    told = _settings(code, DJANGO_SETTINGS_MODULE="aos_project.settings")

    is_enabled, spared, searches = told.stdout.split()
    assert is_enabled == "True", told.stderr
    assert int(spared) > 100_000
    assert int(searches) <= 5
