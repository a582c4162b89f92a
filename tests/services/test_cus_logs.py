"""Log lines in production: JSON, with whose request or job it was, and without any secret."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.db import DatabaseError
from structlog.contextvars import clear_contextvars, get_contextvars

from aos_project.celery import app
from aos_project.cus_logging import logging_settings
from aos_project.cus_task import CusTask
from integrations.cus_accounts.models import CusTenant
from integrations.cus_jobs.models import CusJobTotals
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.redaction import RedactingFilter, remember_secret
from telemetry.cus_evidence.service import CusTelemetryService
from tests.cus_factories import USAGE, SdkClient, make_user, record, signed_in

AS_JSON: dict[str, Any] = {"content_type": "application/json"}
BY_VALUE = "correct-horse-battery-staple"
BY_LOOK = "sk-proj-abcdefghijklmnop1234"


class Lines:
    """The lines that production would write."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        formatter = dict(logging_settings("INFO", for_people=False)["formatters"]["line"])
        self.handler = logging.StreamHandler(self.text)
        self.handler.setFormatter(formatter.pop("()")(**formatter))
        self.handler.addFilter(RedactingFilter())

    def read(self) -> list[dict[str, Any]]:
        """Each line, decoded."""
        return [json.loads(line) for line in self.text.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    remember_secret(BY_VALUE)
    made = Lines()
    root = logging.getLogger()
    root.addHandler(made.handler)
    clear_contextvars()
    yield made
    root.removeHandler(made.handler)
    clear_contextvars()


def _fail_in_a_chain() -> None:
    try:
        raise ValueError(f"the key {BY_VALUE} is refused")
    except ValueError as cause:
        try:
            raise RuntimeError(f"Authorization: Bearer {BY_LOOK}") from cause
        except RuntimeError as error:
            raise ExceptionGroup("both failed", [error, KeyError(BY_VALUE)]) from error


@pytest.mark.parametrize("logger", [structlog.get_logger("ours"), logging.getLogger("theirs")])
def test_a_chain_of_exceptions_is_whole_and_shows_no_secret(lines: Lines, logger: Any) -> None:
    try:
        _fail_in_a_chain()
    except ExceptionGroup:
        logger.exception("it failed with %s", BY_LOOK)

    (line,) = lines.read()
    text = line["exception"]
    assert "direct cause" in text
    assert {word for word in ("ValueError", "RuntimeError", "KeyError") if word in text} == {
        "ValueError", "RuntimeError", "KeyError",
    }  # fmt: skip
    assert "[masked]" in text
    assert "horse" not in json.dumps(line)
    assert "abcdefghijklmnop" not in json.dumps(line)


def test_values_and_names_of_an_event_are_masked(lines: Lines) -> None:
    structlog.get_logger("ours").warning("tried", api_key="short", note=[BY_VALUE], where=BY_LOOK)

    (line,) = lines.read()
    assert (line["api_key"], line["note"], line["where"]) == ("[masked]", ["[masked]"], "[masked]")
    assert (line["level"], line["logger"], line["event"]) == ("warning", "ours", "tried")
    assert line["timestamp"].endswith("Z")


@pytest.mark.django_db
def test_lines_of_a_program_say_request_tenant_and_integration(
    lines: Lines, sdk: SdkClient, integration: CusIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        logging.getLogger("theirs").error("no room for %s", BY_VALUE)
        raise DatabaseError

    monkeypatch.setattr(CusTelemetryService, "record_batch", broken)
    sdk.client.raise_request_exception = False
    sdk.client.post(USAGE, record(), headers={"X-Request-ID": "from-the-proxy-1"}, **AS_JSON)

    line = next(line for line in lines.read() if line["logger"] == "theirs")
    assert line["request_id"] == "from-the-proxy-1"
    assert line["tenant_id"] == str(integration.tenant_id)
    assert line["integration_id"] == str(integration.id)


@pytest.mark.django_db
@pytest.mark.parametrize("given", ["", "x" * 65, 'a"b', "a b"])
def test_an_id_that_is_none_is_replaced(sdk: SdkClient, given: str) -> None:
    sdk.client.post(USAGE, record(), headers={"X-Request-ID": given}, **AS_JSON)

    assert len(get_contextvars()["request_id"]) == 36


@pytest.mark.django_db
def test_lines_of_a_person_say_whose_and_not_the_program_before(
    lines: Lines, sdk: SdkClient, tenant: CusTenant, integration: CusIntegration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sdk.report(record())
    seen: list[dict[str, Any]] = []

    def noted(self: Any, _name: str) -> Any:
        seen.append(dict(get_contextvars()))
        raise DatabaseError

    member = signed_in(make_user("member", tenant), raise_request_exception=False)
    monkeypatch.setattr("integrations.cus_integrations.api.CusIntegrationService.get", noted)
    member.get(f"/api/v1/cus/integrations/{integration.id}")

    assert seen[0]["tenant_id"] == str(tenant.id)
    assert seen[0]["integration_id"] == str(integration.id)
    assert len(seen[0]["request_id"]) == 36
    signed_in(make_user("operator")).get("/admin/")
    assert "integration_id" not in get_contextvars()


@pytest.mark.django_db
def test_lines_of_a_job_say_which_run_and_the_run_is_counted(lines: Lines) -> None:
    @app.task(name="tests.speaks")
    def speaks() -> None:
        structlog.get_logger("ours").info("spoken")

    @app.task(name="tests.fails")
    def fails() -> None:
        raise ValueError(BY_VALUE)

    assert isinstance(speaks, CusTask)
    run = speaks.apply()
    speaks.apply()
    fails.apply()

    (line, _) = [line for line in lines.read() if line["event"] == "spoken"]
    assert (line["job"], line["job_id"]) == ("tests.speaks", run.id)
    counts = CusJobTotals.objects.values_list("name", "succeeded", "failed")
    assert {*counts} == {("tests.speaks", 2, 0), ("tests.fails", 0, 1)}
    assert "horse" not in lines.text.getvalue()
