"""Every URL, method, object and principal of the API gets what `cus_access_matrix.txt` says (C8, C9)."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from tests.api.cus_access_requests import (
    COLUMNS,
    LINES,
    OF_CHECKS,
    URLS,
    Line,
    body_of,
    offered_by_table,
    query_of,
)
from tests.api.cus_access_world import (
    METHODS,
    MISSING,
    Principal,
    World,
    api_urls,
    world_of_a_file,
)
from tests.cus_factories import browser_of

pytestmark = pytest.mark.django_db

PEOPLE = ("oper", "admin", "memb", "supp", "fina", "tfin")
STAFF = ("oper", "supp", "fina")
LIKE = {
    "foreign": "missing",
    "deleted": "missing",
    "foreign key": "missing key",
    "sibling key": "missing key",
    "foreign stop": "missing stop",
    "sibling stop": "missing stop",
    "foreign limit": "missing limit",
    "sibling limit": "missing limit",
}


def _ask(world: World, line: Line, method: str, who: Principal, before: Counter[Any]) -> Any:
    """The answer, and the audit trail's entries that came of it; what changed is taken back.

    `before` is what the trail holds whenever nothing is asked.
    """
    # Not where the world was committed, for checks.
    undo = transaction.get_connection().in_atomic_block
    point = transaction.savepoint() if undo else ""
    try:
        who = world.program(line.thing, who)
        path = world.named(line.path, line.thing, who)
        # A token has just been made to be named.
        noted = before if undo and "{token_id}" not in line.url else _noted()
        answer = who.client.generic(
            method,
            path,
            body_of(world, line),
            content_type="application/json",
            query_params=query_of(world, line),
        )
        return answer, _noted() - noted
    finally:
        if undo:
            transaction.savepoint_rollback(point)


def _noted() -> Counter[Any]:
    """The number of the audit trail's entries, by tenant."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, count(*) FROM cus_audit_trail GROUP BY tenant_id")
        return Counter(dict(cursor.fetchall()))


def test_the_table_names_every_url_and_method_and_nothing_else() -> None:
    known = {url: offered_by_table(url) for url in {line.url for line in LINES}}
    assert known == {_short(url): offered for url, offered in api_urls().items()}

    for url in known:
        assert "other" in {line.method for line in LINES if line.url == url}, url
    assert len({(line.method, line.url, line.thing) for line in LINES}) == len(LINES)


def _short(url: str) -> str:
    return url.removeprefix("api/v1/cus/") if url.startswith("api/v1/") else f"/{url}"


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    with world_of_a_file(django_db_blocker) as world:
        yield world


@pytest.mark.parametrize("url", [url for url in URLS if url not in OF_CHECKS])
def test_everybody_gets_what_the_table_says(url: str, world: World) -> None:
    compare_with_table(url, world)


def compare_with_table(url: str, world: World) -> None:
    """Ask a URL in the name of every principal, and assert the table's lines of it."""
    wrong = []
    refused: dict[tuple[str, str, str], bytes] = {}
    before = _noted()

    for number, line in enumerate(line for line in LINES if line.url == url):
        for method, who in _asked(world, line, number):
            answer, noted = _ask(world, line, method, who, before)
            told = f"{method} {line.url} {line.thing} by {who.column} ({who.way})"
            if answer.status_code != line.expected[who.column]:
                wrong.append(f"{told}: {answer.status_code}, not {line.expected[who.column]}")
            wrong += [f"{told}: {reason}" for reason in _leaks(world, who, answer, noted)]
            # The staff may see that another tenant exists and has not closed its month, and that
            # a request for an increase is another person's.
            of_all = line.url.startswith("telemetry/months/") or line.url.endswith("/withdraw")
            may_see = who.column in STAFF and of_all
            if answer.status_code >= 400 and not may_see:
                refused[method, line.thing, who.way] = _bytes(answer)

    assert wrong == []
    _compare(refused)


def _asked(world: World, line: Line, number: int) -> Iterator[tuple[str, Principal]]:
    """Who asks with what. People ask in both of their ways; others in one, a new one each line."""
    for column in COLUMNS:
        ways = [one for one in world.principals if one.column == column]
        one = ways[number % len(ways)]
        is_person = column in PEOPLE and line.method != "other"
        yield from itertools.product([line.methods[0]], ways if is_person else [one])
        yield from itertools.product(line.methods[1:], [one])


def _compare(refused: dict[tuple[str, str, str], bytes]) -> None:
    """A row that is another's, or was deleted, answers as one that never was: to the byte.

    Wherever the table refuses both; another answer is for who may see the difference.
    """
    for (method, thing, way), answer in refused.items():
        like = LIKE.get(thing)
        if like and (method, like, way) in refused:
            assert answer == refused[method, like, way], (method, thing, way)


def _leaks(world: World, who: Principal, answer: Any, noted: Counter[Any]) -> Iterator[str]:
    """What no answer may do, whatever its status."""
    if answer.status_code >= 400:
        if noted:
            yield "refused, and yet something changed"
        if answer.request["REQUEST_METHOD"] != "HEAD" and not _is_error(answer):
            yield "an error in another shape"
    if who.column not in STAFF:
        if noted[world.foreign.tenant.id] or noted[world.closed.tenant.id]:
            yield "changed something of another tenant"
        text = _content(answer).decode()
        yield from (f"tells of a foreign {name}" for name, it in world.foreign_ids() if it in text)


def _is_error(answer: Any) -> bool:
    body = answer.json()
    return body.keys() == {"type", "errors"} and bool(body["errors"][0]["detail"])


def _bytes(answer: Any) -> bytes:
    headers = "".join(f"{name}: {value}\n" for name, value in sorted(answer.headers.items()))
    return f"{answer.status_code}\n{headers}".encode() + _content(answer)


def _content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else bytes(answer.content)


@pytest.mark.parametrize("url", [url for url in URLS if "{" in url])
def test_what_is_no_id_is_nothing_either(url: str) -> None:
    client = browser_of("operator")

    for nonsense in ("1", "nonsense", str(MISSING)[:-1], "%00", "..%2f"):
        path = "/api/v1/cus/" + re.sub(r"{\w+}", nonsense, url)
        for method in METHODS:
            assert client.generic(method, path).status_code == 404
