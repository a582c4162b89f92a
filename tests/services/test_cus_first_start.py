"""A first start makes what a person needs to begin with, once."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from pytest_django import Settings

from aos_project.cus_first_start import demo_integration, set_up
from aos_project.management.commands.cus_demo import _temporary_key
from integrations.cus_accounts.models import CusUser
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_tenancy.tenant_service import CusTenantService
from tests.conftest import ROOT
from tests.cus_factories import SdkClient, as_written, record

pytestmark = pytest.mark.django_db(databases=["default", "owner"])


def test_every_login_that_is_shown_opens_the_console() -> None:
    first = set_up()

    assert first
    assert [role for role, _, _ in first.logins] == [
        "operator",
        "support",
        "tenant admin",
        "tenant member",
    ]
    for _, email, password in first.logins:
        client = Client()
        answer = client.post("/admin/login/", {"username": email, "password": password})
        assert answer.status_code == 302, email
        assert client.get("/admin/telemetry/cusllmusage/").status_code == 200


def test_the_key_that_is_shown_reports_for_the_integration() -> None:
    first = set_up()

    assert first
    assert SdkClient(first.sdk_key).report(record()).status_code == 201
    integration = CusIntegration.objects.get()
    assert (integration.status, integration.name) == ("enabled", first.integration)


def test_a_second_start_makes_and_shows_nothing() -> None:
    set_up()
    people = CusUser.objects.count()

    assert set_up() is None
    assert CusUser.objects.count() == people


def test_preparing_shows_each_secret_once_and_then_never_again() -> None:
    first, second = io.StringIO(), io.StringIO()

    call_command("cus_prepare", stdout=first)
    call_command("cus_prepare", stdout=second)

    assert re.search(r"CUS_INTEGRATION_KEY=\S+:aosk_\w+", first.getvalue())
    assert second.getvalue() == ""


def test_with_a_file_for_them_no_secret_is_printed_and_only_the_owner_reads_the_file(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "kept" / "first-start.txt"
    settings.CUS_FIRST_START_FILE = str(path)
    said = io.StringIO()

    call_command("cus_prepare", stdout=said)

    kept = path.read_text()
    passwords = re.findall(r"@\S+\s+(\S{16,})$", kept, re.MULTILINE)
    key = re.search(r"CUS_INTEGRATION_KEY=(\S+:aosk_\w+)", kept)
    assert key
    assert len(passwords) == 4
    assert not any(secret in said.getvalue() for secret in (*passwords, key[1], "aosk_"))
    assert str(path) in said.getvalue()
    assert path.stat().st_mode & 0o777 == 0o600
    assert SdkClient(key[1]).report(record()).status_code == 201


def test_a_file_that_cannot_be_written_stops_the_first_start_and_makes_nobody(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.CUS_FIRST_START_FILE = str(tmp_path / "file" / "first-start.txt")

    with pytest.raises(CommandError, match=r"(?s)can't be written.*Set CUS_FIRST_START_FILE"):
        call_command("cus_prepare")

    assert not CusUser.objects.exists()


@pytest.mark.parametrize(
    ("mode", "named", "where"),
    [
        ("local", "", ""),
        ("local", "/run/first", "/run/first"),
        ("production", "", "/data/first-start.txt"),
        ("production", "/run/first", "/run/first"),
    ],
)
def test_production_has_a_file_for_the_secrets_of_a_first_start(
    mode: str, named: str, where: str
) -> None:
    code = "from aos_project.settings import CUS_FIRST_START_FILE as file; print(file)"
    changes = {"CUS_MODE": mode, "CUS_FIRST_START_FILE": named, "CUS_DATA_DIR": "/data"}
    read = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | changes,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert read.stdout.strip() == where


def test_no_password_is_short_or_shared() -> None:
    first = set_up()

    assert first
    passwords = {password for _, _, password in first.logins}
    assert len(passwords) == 4
    assert all(len(password) >= 16 for password in passwords)


def test_a_database_that_is_away_is_said_in_plain_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    owner = connections["owner"]
    owner.close()
    monkeypatch.setitem(owner.settings_dict, "OPTIONS", {"host": str(tmp_path)})

    with pytest.raises(CommandError, match=r"(?s)The database can't be used: .*Check DATABASE_URL"):
        call_command("cus_prepare")


def test_what_a_first_start_makes_is_in_the_audit_trail() -> None:
    set_up()

    trail = set(CusAuditEntry.objects.values_list("action", "object_label"))
    key = CusSdkKey.objects.get()
    assert ("sdk_key.issued", str(key)) in trail
    assert ("person.role_changed", "operator@example.com") in trail
    assert ("person.role_changed", "support@example.com") in trail
    assert {"tenant.created", "integration.created", "member.added"} <= {one for one, _ in trail}


def test_the_demos_key_is_in_the_audit_trail_when_it_is_made_and_when_it_ends() -> None:
    integration = demo_integration(CusTenantService().create("Demo"))

    with _temporary_key(integration):
        assert CusSdkKey.objects.get().revoked_at is None

    of_keys = as_written(CusAuditEntry.objects.filter(action__startswith="sdk_key."))
    assert [entry.action for entry in of_keys] == ["sdk_key.issued", "sdk_key.revoked"]


def test_a_demo_without_room_for_a_key_says_what_to_do() -> None:
    integration = demo_integration(CusTenantService().create("Demo"))
    keys = CusSdkKeyService(integration)
    keys.issue()
    keys.issue()

    with pytest.raises(CommandError, match="Revoke one of them first"), _temporary_key(integration):
        pass
