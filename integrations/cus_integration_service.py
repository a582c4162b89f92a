"""Integrations of one tenant: made, found, enabled."""

import uuid
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from integrations.cus_credential_service import CusCredentialService
from integrations.cus_models import CusIntegration, CusTenant, CusUser


class CusIntegrationService:
    """What may be done with a tenant's integrations. Born with its tenant and actor."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusIntegration]:
        """The tenant's integrations that are not deleted."""
        return CusIntegration.objects.filter(tenant=self.tenant, deleted_at__isnull=True)

    @transaction.atomic
    def create(
        self, *, name: str, provider_type: str, credential: dict[str, str], **fields: Any
    ) -> CusIntegration:
        """A new integration, `created` and not yet serving, with its credential sealed."""
        integration = CusIntegration(
            tenant=self.tenant,
            name=name,
            provider_type=provider_type,
            credential_ref=f"db://{uuid.uuid4()}",
            created_by=self.actor,
            **fields,
        )
        integration.full_clean()
        integration.save(force_insert=True)
        CusCredentialService(self.tenant).store(integration, credential)
        return integration

    def enable(self, integration: CusIntegration) -> CusIntegration:
        """Let the integration serve. Enabling an enabled one changes nothing."""
        enabled = CusIntegration.Status.ENABLED
        startable = (CusIntegration.Status.CREATED, CusIntegration.Status.DISABLED)
        self.scope().filter(id=integration.id, status__in=startable).update(
            status=enabled,
            config_version=F("config_version") + 1,
            updated_at=timezone.now(),
        )
        integration.refresh_from_db()
        return integration
