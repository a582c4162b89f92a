"""What a first start finds ready: people to sign in as, and something to report to."""

import secrets
from dataclasses import dataclass

from django.db import transaction

from integrations.cus_integration_service import CusIntegrationService
from integrations.cus_member_service import CusMemberService
from integrations.cus_models import CusIntegration, CusMembership, CusTenant, CusUser
from integrations.cus_sdk_keys import issue_sdk_key
from integrations.cus_tenant_service import CusTenantService

TENANT = "Demo"


@dataclass(frozen=True)
class FirstStart:
    """Shown once: nothing here can be read back from the database."""

    logins: list[tuple[str, str, str]]  # role, e-mail, password
    integration: str
    sdk_key: str


@transaction.atomic
def set_up() -> FirstStart | None:
    """Operator, support, a demo tenant with its people, integration and key; None if not first."""
    if CusUser.objects.exists():
        return None
    logins: list[tuple[str, str, str]] = []
    operator = _user(logins, "operator", "operator@example.com", is_staff=True, is_superuser=True)
    _user(logins, "support", "support@example.com", is_staff=True, is_support=True)
    tenant = CusTenantService(actor=operator).create(TENANT)
    members = CusMemberService(tenant, actor=operator)
    for role in CusMembership.Role:
        user = _user(logins, f"tenant {role}", f"{role}@demo.example.com", is_staff=True)
        members.add(user, role)
    integration = demo_integration(tenant, operator)
    _, sdk_key = issue_sdk_key(integration, label="First start", actor=operator)
    return FirstStart(logins, integration.name, sdk_key)


def demo_integration(tenant: CusTenant, actor: CusUser | None = None) -> CusIntegration:
    """An enabled OpenAI integration. Its credential is random: put a real one in its place."""
    service = CusIntegrationService(tenant, actor=actor)
    integration = service.create(
        name="OpenAI",
        provider_type=CusIntegration.Provider.OPENAI,
        credential={"api_key": f"sk-demo-{secrets.token_urlsafe(24)}"},
        default_model="gpt-4o",
    )
    return service.enable(integration)


def _user(logins: list[tuple[str, str, str]], role: str, email: str, **fields: bool) -> CusUser:
    password = secrets.token_urlsafe(12)
    user = CusUser.objects.create_user(email, password, **fields)
    logins.append((role, email, password))
    return user
