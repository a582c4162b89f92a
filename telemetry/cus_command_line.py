"""Parsers for the arguments of telemetry's commands."""

import argparse
import uuid
from datetime import UTC, date, datetime

from django.core.management.base import CommandError

from integrations.cus_accounts.models import CusTenant


def moment(text: str) -> datetime:
    """A day or a moment in ISO 8601, in UTC unless it names a zone."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a date like 2026-11-22 or a time like 2026-11-22T14:00Z"
        raise argparse.ArgumentTypeError(msg) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def calendar_day(text: str) -> date:
    """A day in ISO 8601."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a date like 2026-11-22"
        raise argparse.ArgumentTypeError(msg) from None


def tenant_id_of(text: str | None) -> uuid.UUID | None:
    """The id of the tenant with this id or name. Raises CommandError."""
    if text is None:
        return None
    tenant = CusTenant.objects.filter(name=text).first() or _by_id(text)
    if tenant is None:
        raise CommandError(f"There is no tenant {text!r}.")
    return tenant.id


def _by_id(text: str) -> CusTenant | None:
    try:
        return CusTenant.objects.filter(id=uuid.UUID(text)).first()
    except ValueError:
        return None
