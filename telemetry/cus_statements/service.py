"""Close a tenant's month: its figures are kept as a sealed statement (ruling M9)."""

import hashlib
import hmac
import json
from datetime import date, datetime
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import record_change
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import CusError
from telemetry.cus_evidence.models import CusPeriodTotals
from telemetry.cus_evidence.partitions import Month, months_with_evidence
from telemetry.cus_statements.models import CusMonthStatement
from telemetry.cus_statements.month_figures import month_groups, totals_of
from telemetry.cus_statements.months import CLOSING_WAIT, period_of_month

VERSION = 1
_LONG = "SET LOCAL statement_timeout = '10min'; SET LOCAL jit = off"


class MonthClosed(CusError):
    """This month is closed already. Read its statement by GET; later amounts are in later months."""

    code, status = "month_closed", 409


class MonthNotOver(CusError):
    """This month is not over, so its figures still change. Close it ten minutes after its end (UTC)."""

    code, status = "month_not_over", 409


class MonthDropped(CusError):
    """Retention dropped this month's records, from which a statement is computed, so the month can't
    be closed any more. The totals and the figures of days stay.
    """

    code, status = "month_dropped", 409


class MonthNotClosed(CusError):
    """This month has no statement, because it is not closed. Close it by POST."""

    code, status = "month_not_closed", 404


class CusMonthService:
    """The statements of one tenant's months."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def find(self, month: date) -> CusMonthStatement | None:
        """The statement of a month; None if the month is not closed."""
        return CusMonthStatement.objects.filter(tenant_id=self.tenant.id, month=month).first()

    def get(self, month: date) -> CusMonthStatement:
        """The statement of a month. Raises MonthNotClosed."""
        statement = self.find(month)
        if statement is None:
            raise MonthNotClosed
        return statement

    @transaction.atomic
    def close(self, month: date, *, now: datetime) -> CusMonthStatement:
        """Keep what the month received as a sealed statement.

        A closed tenant's months can be closed, too. Raises MonthNotOver, MonthClosed, MonthDropped.
        """
        period = period_of_month(month)
        if now < period.end + CLOSING_WAIT:
            raise MonthNotOver
        if self.find(month):
            raise MonthClosed
        self._require_evidence(month)
        with connection.cursor() as cursor:
            cursor.execute(_LONG)
        groups = month_groups(self.tenant.id, period)
        statement = CusMonthStatement(
            tenant_id=self.tenant.id,
            month=month,
            version=VERSION,
            totals=totals_of(groups),
            groups=[group.as_json() for group in groups],
            closed_by=self.actor.id if self.actor else None,
            closed_at=now,
        )
        statement.digest = digest_of(statement)
        with refused_by(cus_month_statements_once=MonthClosed):
            statement.save(force_insert=True)
        record_change("month.closed", statement, actor=self.actor)
        return statement

    def _require_evidence(self, month: date) -> None:
        received = CusPeriodTotals.objects.filter(tenant_id=self.tenant.id, period=month)
        if Month.of(month) not in months_with_evidence() and received.exists():
            raise MonthDropped


def is_intact(statement: CusMonthStatement) -> bool:
    """Whether the statement is as it was sealed. False if a figure, a name or a time was altered."""
    return hmac.compare_digest(statement.digest, digest_of(statement))


def digest_of(statement: CusMonthStatement) -> str:
    """The seal: a keyed SHA-256 over the statement's canonical JSON."""
    document: dict[str, Any] = {
        "version": statement.version,
        "id": str(statement.id),
        "tenant_id": str(statement.tenant_id),
        "month": f"{statement.month:%Y-%m}",
        "totals": statement.totals,
        "groups": statement.groups,
        "closed_by": str(statement.closed_by),
        "closed_at": statement.closed_at.timestamp(),
    }
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    key = settings.CUS_KEY_HASH_SECRET.encode()
    return hmac.new(key, b"month-statement:" + canonical.encode(), hashlib.sha256).hexdigest()
