"""Who may ask for what: the people, programs and rows that the access matrix walks over."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from enforcement.cus_what_if.models import CusSimulation
from enforcement.cus_what_if.service import CusWhatIfService, fail_simulation
from integrations.cus_accounts.models import CusApiToken, CusMembership, CusTenant, CusUser
from integrations.cus_accounts.token_rights import TokenRights
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.service import CusIncreaseService, Which
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import CusLimitService
from integrations.cus_notifications.models import CusNotificationTarget
from integrations.cus_notifications.service import CusNotificationService
from integrations.cus_stops.models import CusStop
from integrations.cus_stops.service import CusStopService
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_tenancy.tenant_service import CusTenantService
from telemetry.cus_holds.limit_models import CusRunLimit
from tests.cus_factories import make_integration, make_tenant, make_user, signed_in
from tests.cus_limits import make_run_limit
from tests.cus_proofs import lasting_proofs

API = "api/"
MISSING = uuid.UUID("00000000-0000-4000-8000-000000000000")
# Every method that a browser or a program could send.
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_PARTS = (
    "integration_id",
    "key_id",
    "member_id",
    "token_id",
    "lease_id",
    "simulation_id",
    "stop_id",
    "limit_id",
    "session_id",
    "request_id",
    "target_id",
)
# A month that is over, and that nobody has closed.
_MONTH = "2020-02"
# Refused before a connection is made, so that a live test answers at once.
_NOWHERE = {"base_url": "https://127.0.0.1:1"}
_NOBODY = "https://localhost:1"


@dataclass(frozen=True)
class Belongings:
    """A tenant and one row of each kind that a URL can name."""

    tenant: CusTenant
    integration: CusIntegration
    key: CusSdkKey
    key_text: str
    stop: CusStop
    limit: CusScopedLimit
    run: CusRunLimit
    increase: CusIncreaseRequest
    target: CusNotificationTarget
    member: CusMembership
    person: CusUser
    simulation: CusSimulation


@dataclass(frozen=True)
class Principal:
    """One of the table's columns, by one of the ways to prove it."""

    column: str
    way: str
    client: Client
    user: CusUser | None = None


class World:
    """Two open tenants, a closed tenant, and the people of the table's columns."""

    def __init__(self) -> None:
        self.own, self.foreign, self.closed = (_belongings() for _ in range(3))
        self.gone = _integration(self.own.tenant)
        self.gone_key, self.gone_key_text = issue_sdk_key(self.gone)
        self.gone_stop = _stop(self.gone)
        self.gone_limit = _limit(self.gone)
        self.gone_run = _run(self.gone)
        service = CusNotificationService(self.own.tenant)
        self.gone_target, _ = service.add(medium="email", address="gone@example.com")
        service.remove(self.gone_target.id)
        CusIntegrationService(self.own.tenant).delete(self.gone)
        self.revoked_key = _revoked_key(self.own.integration)
        removed = CusMembership.objects.get(user=make_user("member", self.own.tenant))
        self.removed_id = removed.id
        CusMemberService(self.own.tenant).remove(removed.id)
        self.people = {
            "oper": make_user("operator"),
            "admin": make_user("admin", self.own.tenant),
            "memb": make_user("member", self.own.tenant),
            "supp": make_user("support"),
            "fina": make_user("finance"),
            "tfin": make_user("finance", self.own.tenant),
            "none": make_user("nobody"),
            "clsd": make_user("admin", self.closed.tenant),
        }
        self.principals = list(self._principals())
        CusTenantService().close(self.closed.tenant)

    def _principals(self) -> Iterator[Principal]:
        for column, user in self.people.items():
            session = signed_in(user)
            yield Principal(column, "session", session, user)
            column = "dead" if column in ("none", "clsd") else column
            yield Principal(column, f"token of {user.email}", _bearer(_token(user)), user)
        admin = self.people["admin"]
        yield Principal("dead", "revoked token", _bearer(_token(admin, revoked=True)), admin)
        yield Principal("dead", "expired token", _bearer(_token(admin, expired=True)), admin)
        yield Principal("key", "header", _keyed(self.own.key_text))
        yield Principal("key", "bearer", _bearer(self.own.key_text))
        yield Principal("anon", "nothing", Client())
        yield Principal("anon", "nonsense", _bearer("nonsense"))

    def named(self, url: str, thing: str, who: Principal) -> str:
        """The URL with the ids that its parts stand for, when `who` asks for a `thing`."""
        if thing == "missing":
            return url.format(**dict.fromkeys(_PARTS, MISSING), month=_MONTH)
        ids = self._deleted() if thing == "deleted" else self._ids(self._whose(thing, who))
        if "{token_id}" in url:
            ids["token_id"] = self._token_id(thing, who)
        ids["key_id"] = self._keys().get(thing, ids["key_id"])
        ids["stop_id"] = self._stops().get(thing, ids["stop_id"])
        ids["limit_id"] = self._limits().get(thing, ids["limit_id"])
        ids["session_id"] = self._sessions().get(thing, ids["session_id"])
        # A lease that is not there is as good as returned; a test of leases has a foreign one.
        ids["lease_id"] = MISSING
        return url.format(**ids, month=_MONTH)

    def _whose(self, thing: str, who: Principal) -> Belongings:
        if thing == "closed" or (who.column == "clsd" and thing == "own"):
            return self.closed
        # "stray": a key of the caller's, under another tenant's integration.
        return self.foreign if thing in ("foreign", "stray") else self.own

    def _ids(self, rows: Belongings) -> dict[str, Any]:
        return {
            "integration_id": rows.integration.id,
            "key_id": rows.key.id,
            "stop_id": rows.stop.id,
            "limit_id": rows.limit.id,
            "session_id": rows.run.session_id,
            "request_id": rows.increase.id,
            "target_id": rows.target.id,
            "member_id": rows.member.id,
            "simulation_id": rows.simulation.id,
        }

    def _keys(self) -> dict[str, uuid.UUID]:
        return {
            "stray": self.own.key.id,
            "revoked key": self.revoked_key.id,
            "sibling key": self.gone_key.id,
            "foreign key": self.foreign.key.id,
            "missing key": MISSING,
        }

    def _stops(self) -> dict[str, uuid.UUID]:
        return {
            "stray": self.own.stop.id,
            "sibling stop": self.gone_stop.id,
            "foreign stop": self.foreign.stop.id,
            "missing stop": MISSING,
        }

    def _limits(self) -> dict[str, uuid.UUID]:
        return {
            "stray": self.own.limit.id,
            "sibling limit": self.gone_limit.id,
            "foreign limit": self.foreign.limit.id,
            "missing limit": MISSING,
        }

    def _sessions(self) -> dict[str, str]:
        return {
            "stray": self.own.run.session_id,
            "sibling session": self.gone_run.session_id,
            "foreign session": self.foreign.run.session_id,
            "missing session": "nobody/named it",
        }

    def limit_named(self, thing: str) -> uuid.UUID:
        """The limit that a body names."""
        named = {"foreign": self.foreign.limit.id, "closed": self.closed.limit.id}
        named |= {"missing": MISSING, "deleted": self.gone_limit.id}
        return named.get(thing, self.own.limit.id)

    def tenant_named(self, thing: str) -> uuid.UUID | None:
        """What `?tenant_id=` says, where a list or a new row is asked of a tenant."""
        tenants = {"own": self.own.tenant.id, "foreign": self.foreign.tenant.id}
        tenants |= {"missing": MISSING, "closed": self.closed.tenant.id}
        return tenants.get(thing)

    def foreign_ids(self) -> Iterator[tuple[str, str]]:
        """What of another tenant no answer may hold, by what it is."""
        rows = self.foreign
        for name in (
            "tenant",
            "integration",
            "key",
            "stop",
            "limit",
            "increase",
            "target",
            "member",
            "person",
        ):
            yield name, str(getattr(rows, name).id)
        yield "session", rows.run.session_id
        yield "address", rows.person.email
        yield "name", rows.integration.name

    def program(self, thing: str, who: Principal) -> Principal:
        """The key's program; for what is deleted or closed, one that holds the key of that."""
        text = {"deleted": self.gone_key_text, "closed": self.closed.key_text}.get(thing)
        if text is None or who.column != "key":
            return who
        return Principal("key", who.way, (_keyed if who.way == "header" else _bearer)(text))

    def _deleted(self) -> dict[str, Any]:
        return {
            "integration_id": self.gone.id,
            "key_id": self.gone_key.id,
            "stop_id": self.gone_stop.id,
            "limit_id": self.gone_limit.id,
            "session_id": self.gone_run.session_id,
            "target_id": self.gone_target.id,
            "member_id": self.removed_id,
        }

    def _token_id(self, thing: str, who: Principal) -> uuid.UUID:
        """A spare one, so that nobody revokes what they ask with; `deleted` is a revoked one."""
        user = self.foreign.person if thing == "foreign" else who.user
        if user is None:
            return MISSING
        service = CusTokenService(user)
        token, _ = service.issue(name="spare", now=timezone.now())
        if thing == "deleted":
            service.revoke(token, now=timezone.now())
        return uuid.UUID(str(token.id))


@contextmanager
def world_of_a_file(blocker: DjangoDbBlocker) -> Iterator[World]:
    """A world that all tests of a file begin with, for tests that take back what they change.

    None of them commits, so the world lives in a transaction around theirs.
    """
    with blocker.unblock(), lasting_proofs(), transaction.atomic():
        yield World()
        transaction.set_rollback(True)


def api_urls() -> dict[str, set[str]]:
    """Every route below /api/ as the resolver has it, and the methods that its view offers."""
    return dict(_walk(get_resolver().url_patterns, ""))


def _walk(
    patterns: "list[URLPattern | URLResolver]", before: str
) -> Iterator[tuple[str, set[str]]]:
    for one in patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _walk(one.url_patterns, route)
        elif route.startswith(API):
            view = one.callback.view_class  # type: ignore[attr-defined]  # as_view sets it
            names = {name.upper() for name in view.http_method_names}
            offered = {name for name in names if hasattr(view, name.lower())}
            yield _named_parts(route), offered | ({"HEAD"} if "GET" in offered else set())


def _named_parts(route: str) -> str:
    return re.sub(r"<\w+:(\w+)>", r"{\1}", route)


def _integration(tenant: CusTenant) -> CusIntegration:
    return make_integration(tenant, provider_type="custom", config=_NOWHERE)


def _belongings() -> Belongings:
    tenant = make_tenant()
    integration = _integration(tenant)
    key, text = CusSdkKeyService(integration).issue()
    person = make_user("member", tenant)
    # Otherwise a person in the table would be a tenant's last admin.
    make_user("admin", tenant)
    member = CusMembership.objects.get(user=person)
    simulation = CusWhatIfService(tenant).ask(integration, days=1, proposed={})
    fail_simulation(simulation, "Nobody runs it.")
    stop = _stop(integration)
    limit = _limit(integration)
    run = _run(integration)
    increase = CusIncreaseService(tenant, actor=person).ask(
        integration,
        Which(limit=limit),
        now=timezone.now(),
        amount=900,
        valid_until=datetime(2099, 1, 1, tzinfo=UTC),
        reason="The launch.",
    )
    target, _ = CusNotificationService(tenant).add(medium="webhook", address=_NOBODY)
    return Belongings(
        tenant,
        integration,
        key,
        text,
        stop,
        limit,
        run,
        increase,
        target,
        member,
        person,
        simulation,
    )


def _limit(integration: CusIntegration) -> CusScopedLimit:
    fields = {"unit": "cents", "window": "day", "amount": 500}
    return CusLimitService(integration).create(now=timezone.now(), scope="agent_id", **fields)


def _run(integration: CusIntegration) -> CusRunLimit:
    return make_run_limit(integration, f"chat/{integration.id}")


def _stop(integration: CusIntegration) -> CusStop:
    return CusStopService(integration).stop(scope="agent_id", value="crawler", reason="Loops.")


def _revoked_key(integration: CusIntegration) -> CusSdkKey:
    service = CusSdkKeyService(integration)
    return service.revoke(service.issue()[0].id)


def _token(user: CusUser, *, revoked: bool = False, expired: bool = False) -> str:
    made = timezone.now() if not expired else datetime(2025, 1, 1, tzinfo=UTC)
    service = CusTokenService(user)
    token, text = service.issue(
        name="a token",
        now=made,
        expires_at=made + timedelta(days=30),
        rights=TokenRights(may_change_access=True),
    )
    if revoked:
        service.revoke(token, now=timezone.now())
    # Used just now, so that no request notes the use again.
    CusApiToken.objects.filter(id=token.id).update(last_used_at=timezone.now())
    return text


def _bearer(text: str) -> Client:
    return Client(headers={"Authorization": f"Bearer {text}"})


def _keyed(text: str) -> Client:
    return Client(headers={"X-CUS-Integration-Key": text})
