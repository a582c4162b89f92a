"""Re-exports the manager of users for the first migration. No other module imports this one."""

from integrations.cus_accounts.models import CusUserManager

__all__ = ["CusUserManager"]
