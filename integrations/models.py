"""The door through which Django finds this app's models."""

from integrations.cus_login_models import CusApiToken, CusTotpDevice
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
    "CusApiToken",
    "CusCredential",
    "CusIntegration",
    "CusMembership",
    "CusPriceOverride",
    "CusSdkKey",
    "CusTenant",
    "CusTotpDevice",
    "CusUser",
]
