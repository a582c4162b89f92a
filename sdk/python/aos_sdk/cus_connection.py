"""The former path of `aos_sdk.cus_delivery.connection`: programs that import it from here still run."""

from aos_sdk.cus_delivery.connection import CusConnection, CusIntegrationKey

__all__ = ["CusConnection", "CusIntegrationKey"]
