"""What tests make: tenants, people, integrations, records, and a program with a key."""

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.core import mail
from django.core.mail import EmailMessage
from django.db.models import Model, QuerySet
from django.db.models.expressions import RawSQL
from django.test import Client
from django.utils import timezone

from aos_sdk.cus_wire import settlement_call_id
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_credentials.registry import OpenedCredential
from integrations.cus_credentials.sending import CusCredentialSender
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.verifier import issue_sdk_key
from integrations.cus_lifecycle.limits import LIMITS, Unit
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_mail.service import send_waiting
from integrations.cus_providers.safe_http import SafeHttp
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_tenancy.tenant_service import CusTenantService
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.models import CusLLMUsage

USAGE = "/api/v1/cus/telemetry/llm-usage"
BATCH = f"{USAGE}/batch"
ENFORCEMENT = "/api/v1/cus/enforcement"
_NOTICE = "Access changed: "
_numbers = itertools.count(1)
Row = TypeVar("Row", bound=Model)


def as_written(rows: QuerySet[Row]) -> QuerySet[Row]:
    """The rows in the order in which they were written, also those of one transaction.

    Rows of one transaction share their `created_at`. `cmin` counts the statements of it.
    """
    return rows.order_by("created_at", RawSQL("cmin::text::bigint", ()))


def limit_boxes(**values: str) -> dict[str, str]:
    """What a browser sends for limits: 0 but where a value is given, by the form's boxes."""
    dollars = {limit.column: limit.kind for limit in LIMITS if limit.unit is Unit.CENTS}
    boxes = {dollars.get(limit.column, limit.column): "0" for limit in LIMITS}
    return boxes | {"budget_basis": "rounded", "estimate_basis": "bound"} | values


# What each type of provider can't do without.
_CONFIGS = {
    "azure_openai": {"base_url": "https://models.example.com"},
    "bedrock": {"region": "eu-central-1"},
    "custom": {"base_url": "https://models.example.com/v1"},
}


def make_tenant(name: str | None = None) -> CusTenant:
    return CusTenantService().create(name or f"Tenant {next(_numbers)}")


def make_integration(tenant: CusTenant | None = None, **fields: Any) -> CusIntegration:
    service = CusIntegrationService(tenant or make_tenant())
    values: dict[str, Any] = {
        "name": f"Integration {next(_numbers)}",
        "provider_type": "openai",
        "credential": {"api_key": "sk-test-0123456789abcdef"},
        "config": _CONFIGS.get(fields.get("provider_type", "openai"), {}),
    }
    return service.enable(service.create(**(values | fields)))


def make_many(tenant: CusTenant, count: int) -> list[CusIntegration]:
    """So many bare integrations, none enabled, none with a stored credential."""
    return CusIntegration.objects.bulk_create(
        CusIntegration(
            tenant=tenant,
            name=f"One of many {number}",
            provider_type="openai",
            credential_ref=f"db://{uuid.uuid4()}",
        )
        for number in range(count)
    )


def turn_health(
    integration: CusIntegration,
    before: str,
    after: str,
    *,
    at: datetime | None = None,
    **values: str,
) -> CusHealthTransition:
    """A turn of an integration's health in its history, now where `at` does not say otherwise.

    Its health turned from `before` to `after` because the provider was slow, and nothing else did,
    unless `values` say so.
    """
    unchanged = {
        "credential_from": "unknown",
        "credential_to": "unknown",
        "status_from": "enabled",
        "status_to": "enabled",
        "verdict": "slow",
        "message": "The provider was slow.",
    }
    return CusHealthTransition.objects.create(
        tenant_id=integration.tenant_id,
        integration=integration,
        checked_at=at or timezone.now(),
        health_from=before,
        health_to=after,
        **unchanged | values,
    )


def opened_credential(integration: CusIntegration) -> OpenedCredential:
    """The integration's plain credential, as its provider would get it."""
    return CusCredentialSender(integration.tenant, SafeHttp())._open(integration)


def make_user(role: str, tenant: CusTenant | None = None) -> CusUser:
    """A person of a role; admins, members and, unless they are staff, finance are of `tenant`."""
    email = f"{role}{next(_numbers)}@example.com"
    user = CusUser.objects.create_user(
        email,
        "correct horse",
        is_staff=True,
        is_superuser=role == "operator",
        is_support=role == "support",
        is_finance=role == "finance" and tenant is None,
    )
    if tenant:
        CusMemberService(tenant).add(user, role)
    return user


def signed_in(user: CusUser | None, **options: Any) -> Client:
    """A browser in which the person is signed in; for None, a browser without a sign-in."""
    client = Client(**options)
    if user:
        client.force_login(user)
    return client


def browser_of(role: str, tenant: CusTenant | None = None, **options: Any) -> Client:
    """A browser in which a new person of that role is signed in."""
    return signed_in(make_user(role, tenant), **options)


def listed(client: Client, url: str) -> list[dict[str, Any]]:
    """The rows of all pages of a list, in order."""
    rows: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": url}
    while page["next"]:
        page = client.get(page["next"]).json()
        rows += page["results"]
    return rows


def usage_row(integration: CusIntegration, **values: Any) -> dict[str, Any]:
    """The columns of a usage row, for an INSERT past all of our code."""
    return {
        "id": uuid.uuid4(),
        "tenant_id": integration.tenant_id,
        "integration_id": integration.id,
        "call_id": "c",
        "provider": "openai",
        "model": "gpt-4o",
        "tokens_in": 1,
        "tokens_out": 1,
        "cost_cents": 1,
        "cost_microcents": 1,
        "pricing": "table",
        "occurred_at": "2026-01-01T00:00:00Z",
    } | values


def record(**fields: Any) -> dict[str, Any]:
    """A good record of a call of now, with a call id of its own."""
    values: dict[str, Any] = {
        "call_id": f"call-{next(_numbers)}",
        "model": "gpt-4o",
        "tokens_in": 1000,
        "tokens_out": 500,
        "cost_cents": 1,
        "latency_ms": 250,
        "timestamp": datetime.now(UTC).isoformat(),
    }
    return values | fields


def unmeasured(**fields: Any) -> dict[str, Any]:
    """A record of a call whose usage is not known."""
    unknown: dict[str, Any] = {"tokens_in": 0, "tokens_out": 0, "usage_known": False}
    return record(operation="responses", cost_cents=None, **unknown | fields)


def measured(**fields: Any) -> dict[str, Any]:
    """A record of such a call whose usage is known."""
    return record(operation="responses", cost_cents=None, **fields)


def settling(response_id: str, **fields: Any) -> dict[str, Any]:
    """What a process reports that reads an answer to a call that another process has made."""
    names = {"call_id": settlement_call_id(response_id), "response_id": response_id}
    return measured(**names | fields)


def sent_mails() -> list[EmailMessage]:
    """All mails so far, after the job that sends what waits; without notices of changed access."""
    return [one for one in _sent() if not one.subject.startswith(_NOTICE)]


def sent_notices() -> list[EmailMessage]:
    """All mails so far that tell of a change of access."""
    return [one for one in _sent() if one.subject.startswith(_NOTICE)]


def _sent() -> list[EmailMessage]:
    send_waiting()
    return mail.outbox


def correct(row: CusLLMUsage, *, by_microcents: int, **columns: Any) -> None:
    """Append an adjustment of a call's cost."""
    CusCostAdjustment.objects.create(
        id=uuid.uuid4(),
        tenant_id=row.tenant_id,
        integration_id=row.integration_id,
        usage_id=row.id,
        usage_created_at=row.created_at,
        number=1,
        new_price_id=uuid.uuid4(),
        new_version="corrected",
        difference_microcents=by_microcents,
        occurred_at=row.occurred_at,
        **columns,
    )


def set_aside(**amounts: int) -> dict[str, int]:
    """What a holder says that it set aside; 0 where no amount is given."""
    return {"cents": 0, "microcents": 0, "tokens": 0, "calls": 0} | amounts


class SdkClient:
    """A program that reports with an SDK key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.client = Client(headers={"X-CUS-Integration-Key": key})

    @classmethod
    def of(cls, integration: CusIntegration) -> "SdkClient":
        return cls(issue_sdk_key(integration)[1])

    def report(self, body: Any) -> Any:
        """The response to one record."""
        return self.client.post(USAGE, body, content_type="application/json")

    def report_batch(self, *records: Any) -> Any:
        """The response to a batch of records."""
        return self.client.post(BATCH, {"records": records}, content_type="application/json")

    def report_calls(self, count: int) -> None:
        """Report so many calls that ran."""
        assert self.report_batch(*(record() for _ in range(count))).status_code == 200

    def check(self, call_id: str | None = None, **fields: Any) -> Any:
        """The response to a check of one call, which costs a cent and ten tokens by default."""
        values: dict[str, Any] = {
            "call_id": call_id or f"call-{next(_numbers)}",
            "model": "gpt-4o",
            "estimated_tokens": 10,
            "estimated_cost_cents": 1,
        }
        return self.client.post(
            f"{ENFORCEMENT}/check", values | fields, content_type="application/json"
        )

    def lease(self, holder_id: str = "holder", **fields: Any) -> Any:
        """The response to a request for a lease; amounts are the estimate's."""
        estimate = {
            name: fields.pop(name) for name in ("cents", "microcents", "tokens") if name in fields
        }
        return self.client.post(
            f"{ENFORCEMENT}/lease",
            {"holder_id": holder_id, "estimate": estimate} | fields,
            content_type="application/json",
        )

    def end_lease(self, lease_id: str, amounts: dict[str, int]) -> Any:
        """The response to the return of a lease, of which so much was set aside."""
        return self.client.delete(
            f"{ENFORCEMENT}/lease/{lease_id}",
            {"set_aside": amounts},
            content_type="application/json",
        )
