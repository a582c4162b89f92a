"""Re-exports `aos_sdk.cus_delivery.connection`, for programs that import it by this former path."""

from aos_sdk.cus_delivery.connection import CusConnection, CusIntegrationKey

__all__ = ["CusConnection", "CusIntegrationKey"]
