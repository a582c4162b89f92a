"""Seal the days of a tenant that are closed, in order."""

import hmac
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

from django.db import DatabaseError, connection, transaction
from django.db.backends.utils import CursorWrapper

from integrations.cus_accounts.models import CusTenant
from telemetry.cus_seals.canonical_form import NEWEST, Content, contents_of
from telemetry.cus_seals.keys import SealKeys
from telemetry.cus_seals.models import CusEvidenceSeal

# `created_at` is when a fact's transaction or statement began, and these last at most 30 seconds.
# An hour after a day closed no fact can come into the day any more.
_CLOSED_AFTER = timedelta(hours=1)
_ONE_DAY = timedelta(days=1)
# Bounded, because whoever changes a row past the guards may give it a moment that Python has not.
_FIRST_FACT = """
SELECT greatest(least(first, '9999-01-01 00:00Z'), '1970-01-01 00:00Z') FROM (SELECT least(
    (SELECT created_at FROM cus_llm_usage WHERE tenant_id = %(tenant)s
        ORDER BY created_at LIMIT 1),
    (SELECT created_at FROM cus_usage_settlements WHERE tenant_id = %(tenant)s
        ORDER BY created_at LIMIT 1),
    (SELECT created_at FROM cus_cost_adjustments WHERE tenant_id = %(tenant)s
        ORDER BY created_at LIMIT 1)) AS first) AS facts WHERE first IS NOT NULL
"""


class CusSealService:
    """Seals a tenant's days."""

    def __init__(self, tenant_id: uuid.UUID) -> None:
        self.tenant_id = tenant_id
        self._keys = SealKeys(tenant_id)

    def seal_due(self, now: datetime) -> Iterator[CusEvidenceSeal]:
        """Seal each day that was closed an hour before `now`, the database's time.

        Each day is committed by itself, so that a run which is killed loses one day's work. A second
        run at the same time leaves the tenant to the first. Raises DatabaseError.
        """
        while seal := self._seal_next(now):
            yield seal

    @transaction.atomic
    def _seal_next(self, now: datetime) -> CusEvidenceSeal | None:
        if not self._locked():
            return None
        last = last_seal(self.tenant_id)
        day = last.day + _ONE_DAY if last else first_day(self.tenant_id)
        if day is None or day > last_closed_day(now):
            return None
        key_id, key = self._keys.newest
        seal = CusEvidenceSeal(
            tenant_id=self.tenant_id,
            day=day,
            form=NEWEST,
            key_id=key_id,
            previous=last.digest if last else CusEvidenceSeal.START,
            sealed_at=now,
        )
        with reading() as cursor:
            for kind, content in contents_of(cursor, seal, key).items():
                _set_content(seal, kind, content)
        seal.digest = digest_of(seal, key)
        seal.save(force_insert=True)
        return seal

    def _locked(self) -> bool:
        """Whether this transaction is the only one that seals the tenant's days."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))",
                [f"evidence seal of {self.tenant_id}"],
            )
            return bool(cursor.fetchone()[0])


@dataclass(frozen=True)
class SealOutcome:
    """A day that was sealed, or the error that ended a tenant's turn."""

    tenant_id: uuid.UUID
    seal: CusEvidenceSeal | None = None
    error: DatabaseError | None = None


def seal_all(now: datetime) -> Iterator[SealOutcome]:
    """Seal the days of all tenants that are due at `now`, the database's time.

    An error ends the turn of its tenant alone; the next run tries that day again.
    """
    for tenant_id in seal_tenants():
        try:
            for seal in CusSealService(tenant_id).seal_due(now):
                yield SealOutcome(tenant_id, seal=seal)
        except DatabaseError as error:
            yield SealOutcome(tenant_id, error=error)


def seal_tenants() -> list[uuid.UUID]:
    """The tenants that may have evidence to seal: all of them, closed ones too."""
    return list(CusTenant.objects.order_by("id").values_list("id", flat=True))


def last_closed_day(now: datetime, after: timedelta = _CLOSED_AFTER) -> date:
    """The last day (UTC) that ended at least `after` before `now`."""
    return (now - after).astimezone(UTC).date() - _ONE_DAY


def first_day(tenant_id: uuid.UUID) -> date | None:
    """The day of receipt (UTC) of a tenant's first evidence; None if the tenant has none."""
    with connection.cursor() as cursor:
        cursor.execute(_FIRST_FACT, {"tenant": tenant_id})
        found = cursor.fetchone()
    return found[0].astimezone(UTC).date() if found else None


def last_seal(tenant_id: uuid.UUID) -> CusEvidenceSeal | None:
    """The head of a tenant's chain."""
    return CusEvidenceSeal.objects.filter(tenant_id=tenant_id).order_by("-day").first()


def digest_of(seal: CusEvidenceSeal, key: bytes) -> str:
    """What the digest of a seal must be, by the seal's other columns.

    A form of more kinds of facts needs a text of its own here: that of form 1 stays.
    """
    since_1970 = seal.sealed_at - datetime(1970, 1, 1, tzinfo=UTC)
    text = json.dumps(
        [
            *("seal", seal.form, seal.key_id, str(seal.tenant_id), seal.day.isoformat()),
            *(seal.rows, seal.rows_digest, seal.settlements, seal.settlements_digest),
            *(seal.adjustments, seal.adjustments_digest),
            *(seal.previous, since_1970 // timedelta(microseconds=1)),
        ]
    )
    return hmac.new(key, text.encode(), sha256).hexdigest()


def content_in(seal: CusEvidenceSeal, kind: str) -> Content:
    """What a seal says of one kind of facts."""
    return Content(getattr(seal, kind), getattr(seal, f"{kind}_digest"))


def _set_content(seal: CusEvidenceSeal, kind: str, content: Content) -> None:
    """Let a seal say this of one kind of facts."""
    setattr(seal, kind, content.count)
    setattr(seal, f"{kind}_digest", content.digest)


@contextmanager
def reading() -> Iterator[CursorWrapper]:
    """A cursor that reads whole days; needs a transaction.

    A day of millions of rows takes longer than a request's statement may. Rows come in the order of
    an index: sorting them would write the day to disk first.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '1h'; SET LOCAL enable_sort = off")
        yield cursor
