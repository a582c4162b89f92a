"""Where the first migration looks for the manager of users. Nothing else imports this module."""

from integrations.cus_accounts.models import CusUserManager

__all__ = ["CusUserManager"]
