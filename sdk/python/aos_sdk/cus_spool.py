"""The former path of `aos_sdk.cus_delivery.spool`: programs that import it from here still run."""

from aos_sdk.cus_delivery.spool import CusSpool, spool_folder

__all__ = ["CusSpool", "spool_folder"]
