"""What browsers are told, in production and locally."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.test import Client

from tests.conftest import ROOT
from tests.cus_factories import make_user, signed_in

_PROGRAM = """
import json, sys, django
django.setup()
from django.conf import settings
from django.test import Client
client = Client(headers={"Host": "integrations.example.org"})
names = ("SESSION_COOKIE_NAME", "SESSION_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SAMESITE", "SESSION_COOKIE_AGE", "SESSION_COOKIE_DOMAIN",
    "SESSION_COOKIE_PATH", "CSRF_COOKIE_SECURE", "CUS_REQUIRE_TOTP")
answers = {}
for asked in sys.argv[1:]:
    scheme, _, path = asked.partition(":")
    answer = client.get(path, secure=scheme == "https")
    answers[asked] = {
        "status": answer.status_code, "headers": dict(answer.headers),
        "cookies": {name: dict(cookie) for name, cookie in answer.cookies.items()},
    }
    client.cookies.clear()
print(json.dumps({
    "answers": answers,
    "settings": {name: getattr(settings, name) for name in names},
}))
"""


@pytest.fixture(scope="module")
def production() -> dict[str, Any]:
    """What production answers, in a process of its own: settings are read once."""
    changes = {
        "DJANGO_SETTINGS_MODULE": "aos_project.settings",
        "CUS_MODE": "production",
        "ALLOWED_HOSTS": "integrations.example.org",
    }
    said = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "https:/admin/login/", "http:/admin/", "http:/healthz"],
        env=os.environ | changes,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(said.stdout)
    return told


def _directives(policy: str) -> dict[str, str]:
    return dict(part.split(" ", 1) for part in policy.split("; "))


def test_production_binds_browsers_to_https_and_cookies_to_this_host(
    production: dict[str, Any],
) -> None:
    answer = production["answers"]["https:/admin/login/"]

    assert answer["status"] == 200
    headers = answer["headers"]
    assert headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "camera=()" in headers["Permissions-Policy"]
    csrf = answer["cookies"]["__Host-cus_csrf"]
    assert (csrf["secure"], csrf["httponly"], csrf["samesite"]) == (True, True, "Lax")
    assert (csrf["path"], csrf["domain"]) == ("/", "")
    assert production["settings"] == {
        "SESSION_COOKIE_NAME": "__Host-cus_session",
        "SESSION_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "SESSION_COOKIE_AGE": 12 * 3600,
        "SESSION_COOKIE_DOMAIN": None,
        "SESSION_COOKIE_PATH": "/",
        "CSRF_COOKIE_SECURE": True,
        "CUS_REQUIRE_TOTP": True,
    }


def test_production_leads_plain_http_to_https_but_for_probes(production: dict[str, Any]) -> None:
    answers = production["answers"]

    assert answers["http:/admin/"]["headers"]["Location"].startswith("https://")
    assert answers["http:/healthz"]["status"] == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/api/docs", "/api/schema", "/api/v1/cus/tokens", "/healthz", "/nowhere", "/"]
)
def test_nothing_but_the_console_evaluates_or_inlines_anything(path: str) -> None:
    directives = _directives(Client().get(path)["Content-Security-Policy"])

    assert directives["default-src"] == "'self'"
    assert "unsafe" not in " ".join(directives.values())
    assert directives["object-src"] == directives["frame-ancestors"] == "'none'"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin/second-factor/setup/"])
def test_the_console_never_runs_inline_scripts(path: str) -> None:
    client = signed_in(make_user("operator"))

    directives = _directives(client.get(path)["Content-Security-Policy"])

    assert directives["script-src"] == "'self' 'unsafe-eval'"
    assert directives["style-src"] == "'self' 'unsafe-inline'"
    assert directives["default-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"


def test_the_api_documentation_holds_nothing_inline_and_nothing_of_others() -> None:
    page = Client().get("/api/docs").content.decode()

    assert "<style" not in page
    assert page.count("<script") == page.count("<script src=") == 3
    assert "http" not in page.replace("http-equiv", "")
