"""The only module that opens credentials, and the only one that sends them (ruling C4a).

A credential goes to the origin that it was entered for and to no other. Three checks ensure this:

- The configuration must lead to the recorded origin before the credential is opened.
- The store refuses a credential that was sealed with another origin than the recorded one.
- Every request with the credential passes `_BoundHttp.get`, which compares its URL once more.

`tests/architecture/test_cus_credential_sending.py` fails if another module opens credentials or
has a network client.
"""

import time
from collections.abc import Mapping
from contextlib import suppress

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import record_change
from integrations.cus_credentials.registry import OpenedCredential, parsed_credential, store_of
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import CusIntegrationLifecycle
from integrations.cus_providers.origin import leads_where_entered, require_origin
from integrations.cus_providers.probe_answers import Finding, Verdict
from integrations.cus_providers.registry import probe_of
from integrations.cus_providers.safe_http import SECONDS, SafeHttp, SafeResponse
from integrations.cus_web.errors import (
    CredentialElsewhere,
    CredentialMissing,
    CredentialRefRefused,
    CredentialUnreadable,
    CusError,
    IntegrationNotFound,
)


class CusCredentialSender:
    """Asks providers with the credentials of one tenant's integrations."""

    def __init__(self, tenant: CusTenant, http: SafeHttp, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor
        self._http = http

    def ask(self, integration: CusIntegration, *, until: float) -> Finding:
        """Ask the integration's provider once, until `until` (monotonic clock).

        The finding reports every failure. A credential that is missing or can't be decrypted makes
        the integration's credential state `invalid` at once (ruling F2).
        """
        try:
            if not leads_where_entered(integration):
                raise CredentialElsewhere
            credential = self._open(integration)
        except CredentialMissing as error:
            return Finding(Verdict.CREDENTIAL_MISSING, error.detail)
        except CredentialUnreadable as error:
            return Finding(Verdict.CREDENTIAL_UNREADABLE, error.detail)
        except CusError as error:
            # Such as a store that does not answer: the credential itself may be valid.
            return Finding(Verdict.NOT_CHECKABLE, error.detail)
        probe = probe_of(integration.provider_type, integration.config, credential)
        # Opening uses up time, too, if the credential is in another store.
        left = min(until - time.monotonic(), SECONDS)
        finding = probe.ask(_BoundHttp(self._http, integration), seconds=left)
        return finding.without(credential.values())

    def _open(self, integration: CusIntegration) -> OpenedCredential:
        """The plain credential; printing it shows no secret.

        Raises CredentialUnreadable if the credential can't be decrypted, which also puts the
        integration into error, and CredentialMissing if the credential is absent; both make the
        credential's state `invalid` at once. Raises CredentialStoreUnavailable if the store does
        not answer, and CredentialElsewhere if the credential was entered for another origin; both
        leave the credential's state.
        """
        try:
            return parsed_credential(store_of(integration.credential_ref).read(integration))
        except CredentialRefRefused as error:
            # The operator has tightened the rules for references since this reference was set.
            self._mark_invalid(integration)
            raise CredentialMissing(error.detail) from None
        except CredentialUnreadable as error:
            self._mark_invalid(integration)
            if not isinstance(error, CredentialMissing):
                self._fail(integration, error.detail)
            raise

    @transaction.atomic
    def _mark_invalid(self, integration: CusIntegration) -> None:
        invalid = CusIntegration.CredentialState.INVALID
        rows = CusIntegration.objects.filter(
            tenant=self.tenant, id=integration.id, deleted_at__isnull=True
        )
        row = rows.exclude(credential_state=invalid).select_for_update(no_key=True).first()
        if row is None:
            return
        rows.update(
            credential_state=invalid,
            config_version=F("config_version") + 1,
            updated_at=timezone.now(),
        )
        changes = {"credential_state": {"from": row.credential_state, "to": invalid}}
        record_change("integration.checked", row, actor=self.actor, changes=changes)

    def _fail(self, integration: CusIntegration, reason: str) -> None:
        with suppress(IntegrationNotFound):  # A deleted integration has no status to change.
            CusIntegrationLifecycle(self.tenant, actor=self.actor).fail(integration, reason)


class _BoundHttp:
    """Sends one integration's credential, only to the origin that it was entered for."""

    def __init__(self, http: SafeHttp, integration: CusIntegration) -> None:
        self._http = http
        self._integration = integration

    def get(self, url: str, headers: Mapping[str, str], *, seconds: float) -> SafeResponse:
        """The answer to GET. Raises CredentialElsewhere, and what SafeHttp raises."""
        require_origin(url, self._integration)
        return self._http.get(url, headers, seconds=seconds)
