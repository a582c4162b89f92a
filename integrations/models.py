"""Imports this app's models, because Django looks for them here."""

from integrations.cus_accounts.models import (
    CusApiToken,
    CusMembership,
    CusTenant,
    CusTokenChange,
    CusTotpDevice,
    CusUser,
)
from integrations.cus_accounts.session_models import CusSession
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_credentials.models import CusCredential, CusSigningSecret
from integrations.cus_currency.models import CusDisplayRate
from integrations.cus_health.models import CusHealthTransition
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_integrations.models import CusImportedWorker
from integrations.cus_jobs.models import CusJobTotals
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_mail.models import CusMail
from integrations.cus_notifications.models import (
    CusMutedNotifications,
    CusNotificationDelivery,
    CusNotificationEvent,
    CusNotificationTarget,
)
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_stops.models import CusStop

__all__ = [
    "CusApiToken",
    "CusAuditEntry",
    "CusCredential",
    "CusDisplayRate",
    "CusHealthTransition",
    "CusImportedWorker",
    "CusIncreaseRequest",
    "CusIntegration",
    "CusJobTotals",
    "CusMail",
    "CusMembership",
    "CusMutedNotifications",
    "CusNotificationDelivery",
    "CusNotificationEvent",
    "CusNotificationTarget",
    "CusPriceOverride",
    "CusScopedLimit",
    "CusSdkKey",
    "CusSession",
    "CusSigningSecret",
    "CusStop",
    "CusTenant",
    "CusTokenChange",
    "CusTotpDevice",
    "CusUser",
]
