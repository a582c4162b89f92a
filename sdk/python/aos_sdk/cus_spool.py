"""Re-exports `aos_sdk.cus_delivery.spool`, for programs that import it by this former path."""

from aos_sdk.cus_delivery.spool import CusSpool, spool_folder

__all__ = ["CusSpool", "spool_folder"]
