"""The door through which Django finds this app's models."""

from integrations.cus_accounts.models import CusApiToken, CusTotpDevice
from integrations.cus_accounts.session_models import CusSession
from integrations.cus_audit.models import CusAuditEntry, CusTokenChange
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_integrations.models import CusImportedWorker
from integrations.cus_mail.models import CusMail
from integrations.cus_models import (
    CusCredential,
    CusIntegration,
    CusMembership,
    CusSdkKey,
    CusTenant,
    CusUser,
)
from integrations.cus_prices.models import CusPriceOverride

__all__ = [
    "CusApiToken",
    "CusAuditEntry",
    "CusCredential",
    "CusHealthTransition",
    "CusImportedWorker",
    "CusIntegration",
    "CusMail",
    "CusMembership",
    "CusPriceOverride",
    "CusSdkKey",
    "CusSession",
    "CusTenant",
    "CusTokenChange",
    "CusTotpDevice",
    "CusUser",
]
