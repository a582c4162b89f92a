"""Rotation under fire: whatever kills it, every credential opens at every moment."""

import base64
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from pytest_django import Settings

from integrations.cus_accounts.models import CusTenant
from integrations.cus_credentials import rotation
from integrations.cus_credentials.envelope import key_ring, open_sealed, rewrap, seal
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.registry import credential_id, row_name
from integrations.cus_credentials.rotation import Outcome, credentials_by_key, rotate
from integrations.cus_credentials.service import CusCredentialService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CredentialUnreadable
from tests.cus_factories import make_integration, make_many, make_tenant, opened_credential
from tests.e2e.cus_served import ROOT, _test_database_url

ROWS = 200


def _key(name: str) -> str:
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


OLD, NEW = _key("old"), _key("new")


@pytest.fixture
def ring(settings: Settings) -> Iterator[None]:
    """The ring in the middle of a rotation: the new key first, the old one still there."""
    settings.CUS_CREDENTIAL_KEYS = OLD
    yield
    key_ring.cache_clear()


def _make_rows(tenant: CusTenant, count: int) -> list[CusIntegration]:
    integrations = make_many(tenant, count)
    ring = key_ring(OLD)
    CusCredential.objects.bulk_create(
        CusCredential(
            id=uuid.UUID(credential_id(one)),
            tenant=tenant,
            integration=one,
            sealed=seal(ring, _plain(one), row=row_name(one)),
            key_id="old",
            hint="",
        )
        for one in integrations
    )
    return integrations


def _plain(integration: CusIntegration) -> bytes:
    return b'{"api_key": "sk-of-%s"}' % integration.name.encode()


def _all_open(integrations: list[CusIntegration], keys: str) -> bool:
    """Whether every stored credential opens, with one look at the table."""
    stored = dict(CusCredential.objects.values_list("integration_id", "sealed"))
    return all(
        _opened(keys, bytes(stored[one.id]), row_name(one)) == _plain(one) for one in integrations
    )


@cache
def _opened(keys: str, sealed: bytes, row: str) -> bytes:
    """What a stored credential holds. The same bytes open to the same content every time."""
    return open_sealed(key_ring(keys), sealed, row=row)


def _counts() -> dict[str, int]:
    return {key: len(rows) for key, rows in credentials_by_key().items()}


def _rotate_command(*arguments: str) -> str:
    out = StringIO()
    call_command("cus_credential_rotate", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


class _Killed(BaseException):
    pass


@pytest.mark.django_db
def test_killed_at_each_of_200_rows_every_credential_opens_and_the_next_run_goes_on(
    ring: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    integrations = _make_rows(make_tenant(), ROWS)
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"
    calls = [0]

    def dying(*args: Any, **kwargs: Any) -> bytes:
        calls[0] += 1
        if calls[0] % 2 == 0:
            raise _Killed
        return rewrap(*args, **kwargs)

    monkeypatch.setattr(rotation, "rewrap", dying)
    for done in range(1, ROWS):
        with pytest.raises(_Killed):
            list(rotate())
        assert _counts() == {"new": done, "old": ROWS - done}
        assert _all_open(integrations, settings.CUS_CREDENTIAL_KEYS)
    assert list(rotate()) == [Outcome.REWRAPPED]

    assert _counts() == {"new": ROWS}
    assert _all_open(integrations, NEW)
    assert list(rotate()) == []


@pytest.mark.django_db(transaction=True)
def test_a_real_kill_in_the_middle_leaves_every_credential_readable(
    ring: None, settings: Settings
) -> None:
    integrations = _make_rows(make_tenant(), ROWS)
    keys = settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"
    order = list(CusCredential.objects.order_by("id").values_list("id", flat=True))
    for row in (1, 70, 150):
        # A lock on this row halts the rotation in the very statement that would change it.
        with transaction.atomic():
            CusCredential.objects.select_for_update().get(id=order[row])
            process = _start_rotation(keys)
            _wait_until(lambda wanted=row: _counts().get("new", 0) == wanted)
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        # The server may finish the statement of a client that is gone, or not.
        assert _counts()["new"] in (row, row + 1)
        assert _all_open(integrations, keys)

    finished = _start_rotation(keys)

    assert finished.wait(timeout=60) == 0
    assert _counts() == {"new": ROWS}
    assert _all_open(integrations, NEW)


def _start_rotation(keys: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "cus_credential_rotate"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": _test_database_url(), "CUS_CREDENTIAL_KEYS": keys},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_until(reached: Any) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline, "the rotation does not get there"
        time.sleep(0.05)


@pytest.mark.django_db
def test_a_credential_that_is_changed_meanwhile_stays_as_it_was_made(
    ring: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, destroyed = _make_rows(make_tenant(), 2)
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"
    service = CusCredentialService(changed.tenant)

    def meanwhile(*args: Any, **kwargs: Any) -> bytes:
        service.store(changed, {"api_key": "sk-the-newer-one"})
        service.destroy(destroyed)
        return rewrap(*args, **kwargs)

    monkeypatch.setattr(rotation, "rewrap", meanwhile)

    assert set(rotate()) == {Outcome.CHANGED}
    assert opened_credential(changed) == {"api_key": "sk-the-newer-one"}
    assert not CusCredential.objects.filter(integration=destroyed).exists()


@pytest.mark.django_db
def test_rotation_touches_the_data_key_alone(ring: None, settings: Settings) -> None:
    (one,) = _make_rows(make_tenant(), 1)
    before = bytes(CusCredential.objects.get().sealed)
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"

    list(rotate())

    stored = CusCredential.objects.get()
    after = bytes(stored.sealed)
    head = 2 + len("old") + 12 + 48
    assert after[head:] == before[head:]
    assert after[:head] != before[:head]
    assert stored.key_id == "new"
    # The header's key id is authenticated: another name in front of the same wrap opens nothing.
    renamed = bytes([1, 3]) + b"old" + after[5:]
    with pytest.raises(CredentialUnreadable):
        rewrap(key_ring(f"{NEW},old:{NEW.split(':')[1]}"), renamed, row=row_name(one))


@pytest.mark.django_db
def test_the_command_says_what_each_key_holds_and_a_dry_run_changes_nothing(
    ring: None, settings: Settings
) -> None:
    integrations = _make_rows(make_tenant(), 3)
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"
    before = _counts()

    output = _rotate_command("--dry-run")

    assert "3 rewrapped (dry run)" in output
    assert _counts() == before == {"old": 3}
    output = _rotate_command()
    assert "3 rewrapped." in output
    assert _counts() == {"new": 3}
    assert "Nothing to do." in _rotate_command()
    assert _all_open(integrations, NEW)
    for key in (OLD, NEW):
        assert key.split(":")[1] not in output


@pytest.mark.django_db
def test_a_key_is_not_retired_while_anything_needs_it(ring: None, settings: Settings) -> None:
    _make_rows(make_tenant(), 3)
    with pytest.raises(CommandError, match="seals every new credential"):
        _rotate_command("--retire", "old")
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"
    with pytest.raises(CommandError, match="3 credentials are still sealed by old"):
        _rotate_command("--retire", "old")

    _rotate_command()

    assert "No credential is sealed by old" in _rotate_command("--retire", "old")


@pytest.mark.django_db
def test_the_headers_count_and_not_the_column_beside_them(ring: None, settings: Settings) -> None:
    _make_rows(make_tenant(), 2)
    CusCredential.objects.update(key_id="new")
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"

    with pytest.raises(CommandError, match="2 credentials are still sealed by old"):
        _rotate_command("--retire", "old")
    assert list(rotate()) == [Outcome.REWRAPPED] * 2


@pytest.mark.django_db
def test_what_can_not_be_opened_is_counted_and_stops_nobody_else(
    ring: None, settings: Settings
) -> None:
    lost, kept = _make_rows(make_tenant(), 2)
    broken = make_integration()
    CusCredential.objects.filter(integration=lost).update(sealed=b"\x01\x03xyz" + b"0" * 90)
    CusCredential.objects.filter(integration=broken).update(sealed=b"")
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"

    with pytest.raises(CommandError, match="2 credentials can't be opened"):
        _rotate_command()

    assert _counts() == {"new": 1, "xyz": 1, "unreadable": 1}
    assert _all_open([kept], NEW)
    # A ring that lacks a key may be a mistake of this command's caller: no state is changed by it.
    assert CusIntegration.objects.get(id=lost.id).credential_state == "unknown"


@pytest.mark.django_db
def test_no_ciphertext_of_50_rows_opens_in_another(ring: None) -> None:
    integrations = _make_rows(make_tenant(), 25) + _make_rows(make_tenant(), 25)
    ring_now = key_ring(OLD)
    stored = {one.integration_id: bytes(one.sealed) for one in CusCredential.objects.all()}
    opened = 0
    for one in integrations:
        for other in integrations:
            if one is other:
                continue
            with pytest.raises(CredentialUnreadable):
                open_sealed(ring_now, stored[other.id], row=row_name(one))
            opened += 1
    assert opened == 50 * 49


@pytest.mark.django_db
def test_two_rows_swapped_in_the_table_open_nothing(ring: None) -> None:
    integrations = _make_rows(make_tenant(), 50)
    stored = {one.integration_id: one.sealed for one in CusCredential.objects.all()}
    for one, other in zip(integrations[::2], integrations[1::2], strict=True):
        CusCredential.objects.filter(integration=one).update(sealed=stored[other.id])
        CusCredential.objects.filter(integration=other).update(sealed=stored[one.id])

    for one in integrations:
        with pytest.raises(CredentialUnreadable):
            opened_credential(one)
        assert CusIntegration.objects.get(id=one.id).credential_state == "invalid"


def _piped(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(text))


@pytest.mark.django_db
def test_one_integrations_credential_is_replaced_by_what_is_piped_or_in_a_file(
    integration: CusIntegration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _piped("sk-piped-in-0123456789\n", monkeypatch)

    output = _rotate_command("--integration", str(integration.id))

    assert integration.name in output
    assert "sk-piped" not in output
    assert opened_credential(integration) == {"api_key": "sk-piped-in-0123456789"}
    (tmp_path / "credential").write_text('{"api_key": "sk-from-a-file-012345"}')
    _rotate_command("--integration", str(integration.id), "--file", str(tmp_path / "credential"))
    assert opened_credential(integration) == {"api_key": "sk-from-a-file-012345"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("which", "text", "says"),
    [
        ("", "sk-good-0123456789", "takes an integration's id"),
        ("00000000-0000-4000-8000-000000000000", "sk-good-0123456789", "There is no integration"),
        (None, "", "neither a key nor a JSON object"),
        (None, '{"api_key": 5, "x": "sk-leak"}', "neither a key nor a JSON object"),
        (None, '{"surprise": "sk-leaked-0123"}', "api_key"),
    ],
)
def test_what_is_no_replacement_changes_nothing_and_is_not_quoted(
    integration: CusIntegration,
    monkeypatch: pytest.MonkeyPatch,
    which: str | None,
    text: str,
    says: str,
) -> None:
    _piped(text, monkeypatch)

    with pytest.raises(CommandError, match=says) as caught:
        _rotate_command("--integration", str(integration.id) if which is None else which)

    assert "sk-leak" not in str(caught.value)
    assert opened_credential(integration) == {"api_key": "sk-test-0123456789abcdef"}


@pytest.mark.django_db(transaction=True)
def test_the_products_own_role_may_rotate(ring: None, settings: Settings) -> None:
    _make_rows(make_tenant(), 1)
    settings.CUS_CREDENTIAL_KEYS = f"{NEW},{OLD}"
    owner = str(settings.DATABASES["owner"]["USER"])

    assert list(rotate()) == [Outcome.REWRAPPED]
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() != (owner,)
