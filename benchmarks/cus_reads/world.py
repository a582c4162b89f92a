"""A tenant with two months of usage, and the people who read it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.management import call_command
from django.db import connection
from django.test import Client

from aos_project.cus_first_start import demo_integration
from benchmarks.cus_databases import owner_of
from benchmarks.cus_fill import Filled, fill_span, fill_totals, settle
from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_tenancy.person_service import CusPersonService
from integrations.cus_tenancy.tenant_service import CusTenantService
from telemetry.cus_analytics.usage_aggregator import rollup_usage
from telemetry.cus_clock import database_now
from telemetry.cus_delivery.sequences import fold_sequences
from telemetry.cus_evidence.models import CusLLMUsage
from telemetry.cus_evidence.partitions import Month, make_partitions

SPAN = timedelta(days=60)
_CALLS = 20
_INTEGRATIONS = 12


@dataclass(frozen=True)
class World:
    """Who reads, and what there is to read."""

    operator: Client
    # The tenant's admin, by an API token.
    admin: Client
    tenant: CusTenant
    integrations: Sequence[uuid.UUID]
    calls: Sequence[CusLLMUsage]
    now: datetime
    # How long the usage lasted.
    span: timedelta


def make_world(rows: int, span: timedelta = SPAN) -> World:
    """Make people and evidence: `rows` calls over the time before now, rolled up."""
    operator = _person("operator@bench.example.com")
    CusPersonService().change_role(operator, "operator")
    operator.refresh_from_db()
    tenant = CusTenantService(actor=operator).create("Reads")
    admin = _person("admin@bench.example.com")
    CusMemberService(tenant, actor=operator).add(admin, CusMembership.Role.ADMIN)
    integrations = [_integration(tenant, operator, number) for number in range(_INTEGRATIONS)]
    now = database_now()
    fill_tenant(tenant.id, integrations, rows, (now - span, now))
    rollup_usage(now)
    fold_sequences(now)
    calls = _some_calls(tenant, now, span)
    return World(_signed_in(operator), _with_token(admin), tenant, integrations, calls, now, span)


def fill_tenant(
    tenant_id: uuid.UUID,
    integrations: Sequence[uuid.UUID],
    rows: int,
    span: tuple[datetime, datetime],
) -> None:
    """Rows over a span of time in the configured database, with their totals."""
    month = Month.of(span[0])
    while month.start <= span[1]:
        make_partitions(month.start, using=owner_of("default"))
        month = month.shifted(1)
    database = str(connection.settings_dict["NAME"])
    fill_span(database, rows, integrations, tenant_id, span)
    shares = [(integration, rows // len(integrations)) for integration in integrations]
    fill_totals(Filled(database, tenant_id, shares))
    settle(database)


def _person(email: str) -> CusUser:
    return CusUser.objects.create_user(email, None, is_staff=True)


def _integration(tenant: CusTenant, operator: CusUser, number: int) -> uuid.UUID:
    integration = demo_integration(tenant, operator)
    CusIntegrationService(tenant, actor=operator).change(
        integration.id, name=f"OpenAI {number}", budget_limit_cents=100_000_000
    )
    return integration.id


def _signed_in(person: CusUser) -> Client:
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(person)
    return client


def _with_token(person: CusUser) -> Client:
    _, text = CusTokenService(person).issue(name="Benchmark", now=database_now())
    return Client(HTTP_HOST="127.0.0.1", HTTP_AUTHORIZATION=f"Bearer {text}")


def _some_calls(tenant: CusTenant, now: datetime, span: timedelta) -> list[CusLLMUsage]:
    """Calls at even distances in the span."""
    rows = CusLLMUsage.objects.filter(tenant_id=tenant.id).order_by("-created_at", "-id")
    moments = (now - span * number / _CALLS for number in range(_CALLS))
    found = (rows.filter(created_at__lte=moment).first() for moment in moments)
    return [row for row in found if row is not None]


def migrate() -> None:
    """Migrate the configured database."""
    call_command("migrate", verbosity=0, interactive=False)
