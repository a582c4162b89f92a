"""The page of mails of a product on one machine: operators follow the links that no server sent."""

import os
import re
import stat
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings

from integrations.cus_mail import local_box
from integrations.cus_mail.service import send_waiting
from tests.conftest import ROOT
from tests.cus_factories import browser_of, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def box(settings: Settings, tmp_path: Path) -> Path:
    settings.EMAIL_BACKEND = "integrations.cus_mail.local_box.CusLocalBox"
    settings.CUS_LOCAL_MAIL_FOLDER = str(tmp_path / "mails")
    settings.CUS_PUBLIC_URL = "http://127.0.0.1:8041"
    return tmp_path / "mails"


def _page() -> str:
    answer = browser_of("operator").get("/admin/mails/")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_link_in_a_mail_is_on_the_page_and_leads_on(box: Path) -> None:
    person = make_user("support")
    Client().post("/admin/password_reset/", {"email": person.email})
    send_waiting()

    page = _page()

    assert f"To {person.email}" in page
    link = unescape(
        re.findall(r'href="(http://127\.0\.0\.1:8041/admin/password_reset/[^"]*)"', page)[0]
    )
    assert Client().get(urlsplit(link).path, follow=True).status_code == 200


def test_only_the_products_own_user_reads_the_files(box: Path) -> None:
    EmailMessage("Subject", "Text", to=["ada@example.com"]).send()

    assert stat.S_IMODE(box.stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in box.iterdir()] == [0o600]


def test_the_newest_mail_is_first_and_the_oldest_go(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_box, "MOST_KEPT", 2)
    for subject in ("first", "second", "third"):
        EmailMessage(subject, "Text", to=["ada@example.com"]).send()

    assert re.findall(r">\s*(first|second|third)\s*</h2>", _page()) == ["third", "second"]


def test_what_a_mail_says_is_text_and_never_a_program(box: Path) -> None:
    hostile = "<script>alert(1)</script>"
    EmailMessage(hostile, f"{hostile} https://example.com", to=["ada@example.com"]).send()

    page = _page()

    assert hostile not in page
    assert page.count("&lt;script&gt;alert(1)") == 2


def test_an_empty_box_says_how_a_mail_comes_there(box: Path) -> None:
    assert "No mail was written yet. Invite a member" in _page()


def test_the_system_page_leads_there(box: Path) -> None:
    assert 'href="/admin/mails/"' in browser_of("operator").get("/admin/system/").content.decode()


@pytest.mark.parametrize(
    ("changes", "is_there"),
    [
        ({"CUS_MODE": "local"}, True),
        ({"CUS_MODE": "local", "EMAIL_URL": "smtp://mail.example.com:25"}, False),
        ({"CUS_MODE": "production"}, False),
    ],
)
def test_there_is_no_such_page_where_mails_are_sent(
    changes: dict[str, str], is_there: bool, tmp_path: Path
) -> None:
    code = (
        "import django; django.setup();"
        "from django.conf import settings; from aos_project.cus_console.pages import PAGES;"
        "print(settings.EMAIL_BACKEND, 'cus-local-mails' in {page.name for page in PAGES})"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "aos_project.settings"} | changes,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    backend = "integrations.cus_mail.local_box.CusLocalBox"
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    assert told == [backend if is_there else smtp, str(is_there)]
