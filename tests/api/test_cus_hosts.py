"""A `Host` header that is not ours: a plain 400, without a traceback."""

import logging

import pytest
from django.test import Client
from pytest_django import Settings

from aos_sdk.cus_wire import ENFORCEMENT_CHECK_PATH, LLM_USAGE_PATH

pytestmark = pytest.mark.django_db
HOSTS = ["evil.example", "a b", "[::1", "127.0.0.1:port", "x" * 300, "\x01", "localhost@evil"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("debug", [True, False])
def test_programs_read_json(
    settings: Settings, caplog: pytest.LogCaptureFixture, host: str, secure: bool, debug: bool
) -> None:
    settings.DEBUG = debug
    settings.SECURE_SSL_REDIRECT = not secure
    with caplog.at_level(logging.DEBUG):
        for path in ("/api/v1/cus/integrations", "/api/nowhere"):
            answer = Client().get(path, headers={"Host": host}, secure=secure)
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["code"] == "bad_request"
        for path in (ENFORCEMENT_CHECK_PATH, LLM_USAGE_PATH):
            answer = Client().post(path, headers={"Host": host}, secure=secure)
            assert answer.status_code == 400
            assert answer.json()["type"] == "client_error"

    assert not [record for record in caplog.records if record.exc_info]
    assert len(caplog.records) <= 4


@pytest.mark.parametrize("host", HOSTS)
def test_people_read_a_small_page(caplog: pytest.LogCaptureFixture, host: str) -> None:
    for path in ("/", "/admin/login/", "/healthz", "/static/x"):
        page = Client().get(path, headers={"Host": host})
        assert page.status_code == 400
        assert "Traceback" not in page.content.decode()
        assert host not in page.content.decode()

    assert not [record for record in caplog.records if record.exc_info]
