"""The door through which Django finds this app's models."""

from integrations.cus_audit_models import CusAuditEntry
from integrations.cus_models import (
    CusCredential,
    CusIntegration,
    CusMembership,
    CusPriceOverride,
    CusSdkKey,
    CusTenant,
    CusUser,
)

__all__ = [
    "CusAuditEntry",
    "CusCredential",
    "CusIntegration",
    "CusMembership",
    "CusPriceOverride",
    "CusSdkKey",
    "CusTenant",
    "CusUser",
]
