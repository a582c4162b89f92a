"""A check is answered alike whichever way it comes: directly, or through DRF where it is unusual."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.test import Client
from pytest_django import Settings

from aos_sdk.cus_wire import MAX_BATCH_BYTES
from enforcement.cus_checks.api import CheckerView, CheckView
from enforcement.cus_checks.service import CusEnforcementService
from integrations.cus_lifecycle.models import CusIntegration
from telemetry.cus_holds.models import CusEnforcementHold
from tests.cus_factories import ENFORCEMENT, SdkClient, make_integration

pytestmark = pytest.mark.django_db(transaction=True)

CHECK = f"{ENFORCEMENT}/check"


def _post(sdk: SdkClient, body: bytes, kind: str = "application/json", **headers: str) -> Any:
    return Client().post(CHECK, body, content_type=kind, headers=headers)


def _directly(sdk: SdkClient, body: bytes) -> Any:
    return _post(sdk, body, X_CUS_Integration_Key=f" {sdk.key} ")


def _as_bearer(sdk: SdkClient, body: bytes) -> Any:
    return _post(sdk, body, Authorization=f"Bearer {sdk.key}")


def _with_charset(sdk: SdkClient, body: bytes) -> Any:
    kind = "application/json; charset=utf-8"
    return _post(sdk, body, kind, X_CUS_Integration_Key=sdk.key)


def _packed(sdk: SdkClient, body: bytes) -> Any:
    return _post(sdk, gzip.compress(body), X_CUS_Integration_Key=sdk.key, Content_Encoding="gzip")


@pytest.fixture
def through_drf(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checks that went through DRF."""
    seen: list[str] = []
    initial = CheckerView.initial

    def noting(self: CheckerView, request: Any, *args: Any, **kwargs: Any) -> None:
        seen.append(type(self).__name__)
        initial(self, request, *args, **kwargs)

    monkeypatch.setattr(CheckerView, "initial", noting)
    return seen


@pytest.mark.parametrize(
    ("way", "unusual"),
    [(_directly, False), (_as_bearer, True), (_with_charset, True), (_packed, True)],
)
def test_every_way_has_the_same_answer(
    sdk: SdkClient,
    integration: CusIntegration,
    through_drf: list[str],
    way: Callable[[SdkClient, bytes], Any],
    *,
    unusual: bool,
) -> None:
    CusIntegration.objects.filter(id=integration.id).update(budget_limit_cents=10)
    asked = {"call_id": "call", "estimated_cost_cents": 10, "estimated_tokens": 1}

    allowed = way(sdk, json.dumps(asked).encode())
    refused = way(sdk, json.dumps(asked | {"call_id": "other"}).encode())

    assert through_drf == [CheckView.__name__] * (2 * unusual)
    assert (allowed.status_code, allowed.json()["result"]) == (200, "allowed")
    assert (refused.status_code, refused.json()["result"]) == (200, "blocked")
    assert allowed["Content-Type"] == refused["Content-Type"] == "application/json"
    assert CusEnforcementHold.objects.get().call_id == "call"


def test_what_the_direct_way_does_not_take_is_refused_as_everywhere_else(
    sdk: SdkClient, through_drf: list[str]
) -> None:
    body = b'{"call_id": "call"}'
    large = b'{"call_id": "call", "x": "' + b"x" * MAX_BATCH_BYTES + b'"}'
    answers = {
        "wrong key": _post(sdk, body, X_CUS_Integration_Key=f"{sdk.key}x"),
        "no key": _post(sdk, body),
        "no check": _directly(sdk, b"{}"),
        "wrong key, no check": _post(sdk, b"{}", X_CUS_Integration_Key=f"{sdk.key}x"),
        "too large": _directly(sdk, large),
        "no JSON": _post(sdk, body, "text/plain", X_CUS_Integration_Key=sdk.key),
    }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "wrong key": 401, "no key": 401, "no check": 400, "wrong key, no check": 401,
        "too large": 413, "no JSON": 415,
    }  # fmt: skip
    assert all(answer.json()["errors"][0]["code"] for answer in answers.values())
    assert len(through_drf) == len(answers)
    assert not CusEnforcementHold.objects.exists()


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_database_that_fails_django_is_answered_by_503_on_the_direct_way_too(
    sdk: SdkClient, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(CusEnforcementService, "check", fail)
    body = b'{"call_id": "c", "model": "gpt-4o"}'
    answer = Client(raise_request_exception=False).post(
        CHECK,
        body,
        content_type="application/json",
        headers={"X-CUS-Integration-Key": sdk.key},
    )
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")


def test_a_length_of_thousands_of_digits_is_refused_and_nothing_worse(sdk: SdkClient) -> None:
    header: dict[str, Any] = {
        "HTTP_X_CUS_INTEGRATION_KEY": sdk.key,
        "CONTENT_LENGTH": "9" * 5_000,
    }
    answer = Client(raise_request_exception=False).post(
        CHECK, b"{}", content_type="application/json", **header
    )
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize("what", ["config", "status"])
def test_what_an_sdk_reads_of_its_integration_is_limited_and_keeps_no_check_away(
    sdk: SdkClient, settings: Settings, what: str
) -> None:
    stranger = SdkClient.of(make_integration())
    settings.CUS_SDK_REQUESTS_PER_SECOND = 0.1

    answers = [sdk.client.get(f"{ENFORCEMENT}/{what}") for _ in range(4)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert int(refused[0]["Retry-After"]) > 0
    assert stranger.client.get(f"{ENFORCEMENT}/{what}").status_code == 200
    assert {sdk.check().status_code for _ in range(3)} == {200}
