"""Make the logins, the demo tenant and the SDK key of a first start."""

import secrets
from dataclasses import dataclass

from django.db import transaction

from integrations.cus_accounts.models import CusMembership, CusTenant, CusUser
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_tenancy.person_service import CusPersonService, StaffRole
from integrations.cus_tenancy.tenant_service import CusTenantService

TENANT = "Demo"
INTEGRATION = "OpenAI"


@dataclass(frozen=True)
class FirstStart:
    """The secrets of a first start. They can't be read from the database, so show them once."""

    logins: list[tuple[str, str, str]]  # role, e-mail, password
    integration: str
    sdk_key: str


@transaction.atomic
def set_up() -> FirstStart | None:
    """Make operator, support, and a demo tenant with people, integration and key.

    Returns None if this is not the first start.
    """
    if CusUser.objects.exists():
        return None
    logins: list[tuple[str, str, str]] = []
    operator = _staff(logins, "operator")
    _staff(logins, "support")
    tenant = CusTenantService(actor=operator).create(TENANT)
    members = CusMemberService(tenant, actor=operator)
    for role in (CusMembership.Role.ADMIN, CusMembership.Role.MEMBER):
        user = _user(logins, f"tenant {role}", f"{role}@demo.example.com")
        members.add(user, role)
    integration = demo_integration(tenant, operator)
    _, sdk_key = CusSdkKeyService(integration, actor=operator).issue(label="First start")
    return FirstStart(logins, integration.name, sdk_key)


def demo_integration(
    tenant: CusTenant, actor: CusUser | None = None, name: str = INTEGRATION
) -> CusIntegration:
    """An enabled OpenAI integration. Its credential is random: replace it by a real credential."""
    service = CusIntegrationService(tenant, actor=actor)
    integration = service.create(
        name=name,
        provider_type=CusIntegration.Provider.OPENAI,
        credential={"api_key": f"sk-demo-{secrets.token_urlsafe(24)}"},
        default_model="gpt-4o",
    )
    return service.enable(integration)


def _staff(logins: list[tuple[str, str, str]], role: StaffRole) -> CusUser:
    person = _user(logins, role, f"{role}@example.com")
    CusPersonService().change_role(person, role)
    person.refresh_from_db()
    return person


def _user(logins: list[tuple[str, str, str]], role: str, email: str) -> CusUser:
    password = secrets.token_urlsafe(12)
    user = CusUser.objects.create_user(email, password, is_staff=True)
    logins.append((role, email, password))
    return user
