"""Over HTTP, access changes only with a fresh proof, or by a token that was made for it (C10)."""

import importlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from integrations import migrations
from integrations.cus_accounts.models import CusTenant
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_mail.models import CusMail
from tests.api.cus_access_requests import BODIES, LINES, Line, body_of, query_of
from tests.api.cus_access_world import Principal, World
from tests.conftest import as_if
from tests.cus_factories import make_user, signed_in
from tests.cus_proofs import access_rows, make_stale, stale

pytestmark = pytest.mark.django_db

_KEY = {"api_key": "sk-test-fedcba9876543210"}
# What changes access, of all that the API offers. A new endpoint of that kind gets its line here.
CHANGES_OF_ACCESS = {
    "POST integrations",
    "PATCH integrations/{integration_id} with a credential",
    "PUT integrations/{integration_id} with a credential",
    "DELETE integrations/{integration_id}",
    "POST integrations/{integration_id}/keys",
    "DELETE integrations/{integration_id}/keys/{key_id}",
    "POST members",
    "PATCH members/{member_id}",
    "DELETE members/{member_id}",
    "POST tokens",
    "DELETE tokens/{token_id}",
}


def _lines() -> Iterator[tuple[str, Line, dict[str, Any]]]:
    """Everything that an admin may send about a row of their own tenant, by name."""
    for line in LINES:
        if line.thing not in ("own", "all") or line.method in ("GET", "other"):
            continue
        if line.expected["admin"] >= 400:
            continue
        name = f"{line.method} {line.url}"
        yield name, line, {}
        if name in ("PATCH integrations/{integration_id}", "PUT integrations/{integration_id}"):
            yield f"{name} with a credential", line, {"credential": _KEY}


def _send(world: World, line: Line, client: Client, more: dict[str, Any]) -> tuple[Any, bool]:
    """The answer, and whether it changed access; what changed is taken back."""
    before = transaction.savepoint()
    try:
        who = Principal("admin", "session", client, world.people["admin"])
        path = world.named(line.path, line.thing, who)
        rows = access_rows()
        body = BODIES.get(f"{line.method} {line.url}", {}) | more if more else None
        answer = client.generic(
            line.method,
            path,
            body_of(world, line) if body is None else json.dumps(body),
            content_type="application/json",
            query_params=query_of(world, line),
        )
        return answer, access_rows() != rows
    finally:
        transaction.savepoint_rollback(before)


def test_every_change_of_access_needs_a_fresh_proof_and_nothing_else_does() -> None:
    world = World()
    admin = world.people["admin"]
    fresh, late = signed_in(admin), stale(admin)
    _, text = CusTokenService(admin).issue(name="no right", now=timezone.now())
    token = Client(headers={"Authorization": f"Bearer {text}"})
    changing = set()

    for name, line, more in _lines():
        answer, has_changed = _send(world, line, fresh, more)
        assert answer.status_code < 400, (name, answer.content)
        changing |= {name} if has_changed else set()
        for client, code in ((late, "proof_required"), (token, "token_may_not_change_access")):
            answer, changed_late = _send(world, line, client, more)
            assert not changed_late, name
            if has_changed:
                assert answer.status_code == 403, name
                assert answer.json()["errors"][0]["code"] == code, name
            else:
                assert answer.status_code < 400, (name, answer.content)

    assert changing == CHANGES_OF_ACCESS


def test_the_refusal_says_what_to_do(tenant: CusTenant) -> None:
    refused = stale(make_user("admin", tenant)).post(
        "/api/v1/cus/tokens", {"name": "x"}, content_type="application/json"
    )

    assert "/admin/prove/" in refused.json()["errors"][0]["detail"]


def test_a_proof_is_good_for_the_session_that_gave_it(tenant: CusTenant) -> None:
    admin = make_user("admin", tenant)
    signed_in(admin)

    refused = make_stale(signed_in(admin)).post(
        "/api/v1/cus/tokens", {"name": "x"}, content_type="application/json"
    )

    assert refused.status_code == 403


def test_a_refused_invitation_mails_nobody(tenant: CusTenant) -> None:
    stale(make_user("admin", tenant)).post(
        "/api/v1/cus/members", {"email": "ada@example.com"}, content_type="application/json"
    )

    assert not CusMail.objects.exists()


def test_a_token_of_no_such_right_still_changes_limits(
    tenant: CusTenant, integration: CusIntegration
) -> None:
    admin = make_user("admin", tenant)
    _, text = CusTokenService(admin).issue(name="limits", now=timezone.now())

    answer = Client(headers={"Authorization": f"Bearer {text}"}).patch(
        f"/api/v1/cus/integrations/{integration.id}",
        {"budget_limit_cents": 5},
        content_type="application/json",
    )

    assert answer.status_code == 200


def test_a_token_says_whether_it_may_change_access(tenant: CusTenant) -> None:
    client = signed_in(make_user("admin", tenant))

    for fields, right in (({}, False), ({"may_change_access": True}, True)):
        made = client.post(
            "/api/v1/cus/tokens", {"name": "x"} | fields, content_type="application/json"
        )
        assert made.json()["may_change_access"] is right


@pytest.mark.django_db(transaction=True)
def test_tokens_of_before_keep_what_they_may_and_end_within_ninety_days(tenant: CusTenant) -> None:
    service, now = CusTokenService(make_user("admin", tenant)), timezone.now()
    long, short, revoked = (
        service.issue(name=f"{days} days", now=now, expires_at=now + timedelta(days=days))[0]
        for days in (300, 10, 200)
    )
    service.revoke(revoked, now=now)

    as_if(_the_upgrade())

    for token in (long, short, revoked):
        token.refresh_from_db()
    assert [token.may_change_access for token in (long, short, revoked)] == [True, True, False]
    assert timedelta(days=89) < long.expiry - now < timedelta(days=91)
    assert short.expiry == now + timedelta(days=10)


def _the_upgrade() -> str:
    """What the migration that brought the right does to the tokens that are there."""
    (file,) = Path(migrations.__file__).parent.glob("*_cus_proof.py")
    module = importlib.import_module(f"{migrations.__name__}.{file.stem}")
    return str(module.Migration.operations[-1].sql)
