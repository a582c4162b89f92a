"""Strangers can't stop other requests: slow bodies, floods of pages, oversized requests."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from aos_project.cus_embedded.process import wait_for
from aos_sdk.cus_wire import ENFORCEMENT_CHECK_PATH, INTEGRATION_KEY_HEADER, LLM_USAGE_BATCH_PATH
from enforcement.cus_decisions.models import CusDecisionTotals
from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import SdkClient, make_user, signed_in
from tests.e2e.cus_served import ServedProduct

pytestmark = pytest.mark.django_db(transaction=True)

_TIMEOUT = 20
# More than the threads of all kinds together.
_SLOW_SOCKETS = 64


@contextmanager
def _slow_body(port: int, path: str, length: int = 1_000) -> Iterator[socket.socket]:
    """A request whose body never comes further than its first byte."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) as connection:
        connection.sendall(head.encode() + b"{")
        yield connection


def _check(product: ServedProduct, sdk: SdkClient, call_id: str) -> requests.Response:
    return requests.post(
        product.base_url + ENFORCEMENT_CHECK_PATH,
        json={"call_id": call_id},
        headers={INTEGRATION_KEY_HEADER: sdk.key},
        timeout=_TIMEOUT,
    )


def _read_to_the_end(connection: socket.socket) -> bytes:
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return answer


@pytest.fixture(scope="module")
def product(django_db_setup: None) -> Iterator[ServedProduct]:
    """One server for all of these, with a deadline that a test can wait for."""
    with ServedProduct(CUS_BODY_SECONDS="4") as served:
        yield served


def test_bodies_that_trickle_in_keep_nobody_waiting(product: ServedProduct, sdk: SdkClient) -> None:
    paths = (LLM_USAGE_BATCH_PATH, ENFORCEMENT_CHECK_PATH, "/admin/login/", "/healthz")
    with ExitStack() as stack:
        for number in range(_SLOW_SOCKETS):
            stack.enter_context(_slow_body(product.port, paths[number % len(paths)]))

        assert requests.get(f"{product.base_url}/healthz", timeout=_TIMEOUT).ok
        assert requests.get(f"{product.base_url}/admin/login/", timeout=_TIMEOUT).ok
        verdict = _check(product, sdk, "among-slow-ones").json()

    assert verdict["result"] == "allowed"
    assert not verdict["degraded"]


def test_a_body_ends_at_its_deadline_and_says_so(product: ServedProduct) -> None:
    with (
        _slow_body(product.port, ENFORCEMENT_CHECK_PATH) as program,
        _slow_body(product.port, "/admin/login/") as person,
    ):
        head, _, body = _read_to_the_end(program).partition(b"\r\n\r\n")
        page = _read_to_the_end(person)

    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["errors"][0]["code"] == "request_timeout"
    assert page.startswith(b"HTTP/1.1 408 ")
    assert b"<h1>Request timed out</h1>" in page


def test_a_body_that_is_too_large_is_refused_unread(product: ServedProduct) -> None:
    with _slow_body(product.port, LLM_USAGE_BATCH_PATH, 10**12) as connection:
        head, _, body = _read_to_the_end(connection).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["errors"][0]["code"] == "request_too_large"


def test_a_body_without_a_length_is_asked_for_one(product: ServedProduct, sdk: SdkClient) -> None:
    answer = requests.post(
        product.base_url + ENFORCEMENT_CHECK_PATH,
        data=iter([b"{}"]),
        headers={INTEGRATION_KEY_HEADER: sdk.key, "Content-Type": "application/json"},
        timeout=_TIMEOUT,
    )

    assert answer.status_code == 411


def test_many_sign_ins_at_once_leave_checks_and_probes_alone(
    product: ServedProduct, sdk: SdkClient
) -> None:
    statuses: list[int] = []

    def sign_in(number: int) -> None:
        with requests.Session() as session:
            session.get(f"{product.base_url}/admin/login/", timeout=_TIMEOUT)
            form = {
                "username": f"nobody-{number}@example.com",
                "password": "wrong",
                "csrfmiddlewaretoken": session.cookies["csrftoken"],
            }
            answer = session.post(f"{product.base_url}/admin/login/", data=form, timeout=60)
            statuses.append(answer.status_code)

    strangers = [threading.Thread(target=sign_in, args=(number,)) for number in range(16)]
    for thread in strangers:
        thread.start()
    results = [_check(product, sdk, f"call-{number}").json() for number in range(10)]
    healthy = requests.get(f"{product.base_url}/healthz", timeout=_TIMEOUT).ok
    for thread in strangers:
        thread.join()

    assert [result["result"] for result in results] == ["allowed"] * 10
    assert not any(result["degraded"] for result in results)
    assert healthy
    # The form again, or a clear "come again"; never a traceback.
    assert set(statuses) <= {200, 429, 503}


def test_strangers_that_occupy_their_threads_keep_no_person_waiting(
    product: ServedProduct, admin: CusUser
) -> None:
    _, token = CusTokenService(admin).issue(name="nightly", now=timezone.now())
    program = {"Authorization": f"Bearer {token}"}
    url = f"{product.base_url}/api/v1/cus/integrations"
    assert requests.get(url, headers=program, timeout=_TIMEOUT).ok
    statuses: list[int] = []

    def ask(number: int) -> None:
        cookies = {settings.SESSION_COOKIE_NAME: f"invented-{number}"}
        answer = requests.get(url, cookies=cookies, timeout=60)
        statuses.append(answer.status_code)

    strangers = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    # Nobody's session can be read now, so whoever shows one waits in the middle of a request.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE")
        for thread in strangers:
            thread.start()
        assert wait_for(_someone_waits_for_a_lock, _TIMEOUT)
        answers = [requests.get(url, headers=program, timeout=_TIMEOUT) for _ in range(3)]
        assert not statuses
    for thread in strangers:
        thread.join()

    assert [answer.status_code for answer in answers] == [200] * 3
    assert statuses == [401] * 16


def test_invented_keys_wait_among_strangers_and_keep_no_valid_key_waiting(
    product: ServedProduct, sdk: SdkClient
) -> None:
    assert _check(product, sdk, "known").json()["result"] == "allowed"
    refusals = [_check(product, SdkClient(f"invented-{n}"), "call") for n in range(40)]
    late: list[requests.Response] = []

    def ask_as_a_stranger() -> None:
        url, cookies = f"{product.base_url}/admin/", {settings.SESSION_COOKIE_NAME: "invented"}
        requests.get(url, cookies=cookies, allow_redirects=False, timeout=60)

    def invent() -> None:
        late.append(_check(product, SdkClient("invented-too"), "call"))

    strangers = [threading.Thread(target=ask) for ask in (ask_as_a_stranger, invent)]
    # The address's only thread among strangers waits in the middle of a request.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE django_session IN ACCESS EXCLUSIVE MODE")
        strangers[0].start()
        assert wait_for(_someone_waits_for_a_lock, _TIMEOUT)
        strangers[1].start()
        results = [_check(product, sdk, f"call-{n}").json()["result"] for n in range(10)]
        assert not late
    for thread in strangers:
        thread.join()

    assert results == ["allowed"] * 10
    answers = {(one.status_code, one.text, one.headers["Content-Type"]) for one in refusals + late}
    assert len(answers) == 1
    assert late[0].status_code == 401
    assert "This SDK key is not valid here" in late[0].text


def _someone_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE NOT granted AND datname = current_database())"
        )
        return bool(cursor.fetchone()[0])


def test_an_sdk_route_answers_over_the_short_way_as_over_the_long_one(
    product: ServedProduct, sdk: SdkClient
) -> None:
    for path in (ENFORCEMENT_CHECK_PATH, LLM_USAGE_BATCH_PATH):
        refused = requests.post(product.base_url + path, json={}, timeout=_TIMEOUT)
        assert refused.status_code == 401
        assert refused.json()["errors"][0]["code"] == "not_authenticated"
        assert refused.headers["X-Content-Type-Options"] == "nosniff"
        elsewhere = requests.post(
            product.base_url + path, json={}, headers={"Host": "evil.example"}, timeout=_TIMEOUT
        )
        assert elsewhere.status_code == 400
        assert elsewhere.json()["errors"][0]["code"] == "bad_request"


def test_an_export_larger_than_a_whole_answer_arrives_row_by_row(
    product: ServedProduct, integration: CusIntegration
) -> None:
    note = "x" * 200
    CusAuditEntry.objects.bulk_create(
        CusAuditEntry(
            tenant=integration.tenant, action="integration.changed", object_type="integration",
            object_id=str(number), object_label=note, actor_label="", changes={},
        )
        for number in range(6_000)
    )  # fmt: skip
    session = signed_in(make_user("operator")).cookies[settings.SESSION_COOKIE_NAME].value

    answer = requests.get(
        f"{product.base_url}/admin/integrations/cusauditentry/export/",
        cookies={settings.SESSION_COOKIE_NAME: session},
        timeout=_TIMEOUT,
    )

    assert answer.status_code == 200
    assert len(answer.content) > 1024 * 1024
    assert answer.text.count(note) == 6_000
    assert answer.headers["Transfer-Encoding"] == "chunked"


def test_who_was_turned_away_until_the_server_ends_is_logged_then(sdk: SdkClient) -> None:
    with ServedProduct(CUS_CHECKS_PER_SECOND="1") as product:
        results = [_check(product, sdk, f"call-{number}").json()["result"] for number in range(20)]
        product.stop()

    totals = CusDecisionTotals.objects.get()
    assert results.count("throttled") > 10
    assert totals.allowed + totals.throttled == len(results)
