"""Prove that sealed evidence is as it was when it was sealed, or name the day on which it is not."""

import hmac
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.db import transaction

from telemetry.cus_evidence.models import CusDroppedMonth
from telemetry.cus_evidence.partitions import LEAST_KEPT_MONTHS, Month, months_with_evidence
from telemetry.cus_seals.canonical_form import FORMS, Content, contents_of, start_of
from telemetry.cus_seals.keys import SealKeys
from telemetry.cus_seals.models import CusEvidenceSeal
from telemetry.cus_seals.service import (
    content_in,
    digest_of,
    first_day,
    last_closed_day,
    reading,
    seal_tenants,
)

_ONE_DAY = timedelta(days=1)
# Beat seals an hour after a day closed; a run that is delayed is no fault yet.
_OVERDUE_AFTER = timedelta(hours=3)
_LATE_AFTER = timedelta(days=1)
_LABELS = {"rows": "usage rows", "settlements": "settlements", "adjustments": "adjustments"}


@dataclass
class CheckedDay:
    """What was found out about a day of a tenant.

    `faults` are empty if the evidence is as sealed. `dropped`: retention removed the usage rows, so
    that they can't be compared. `late`: sealed more than a day after the day closed; the seal proves
    nothing about the time before.
    """

    tenant_id: uuid.UUID
    day: date
    faults: list[str] = field(default_factory=list)
    compared: bool = False
    dropped: bool = False
    late: bool = False


class CusSealVerifier:
    """Follows a tenant's chain of seals, and compares the evidence with the seals."""

    def __init__(self, tenant_id: uuid.UUID, now: datetime) -> None:
        self.tenant_id = tenant_id
        self._now = now
        self._keys = SealKeys(tenant_id)
        self._months = months_with_evidence()
        dropped = CusDroppedMonth.objects.values_list("month", flat=True)
        self._dropped = {Month.of(month) for month in dropped}

    def days(self, first: date = date.min, last: date = date.max) -> Iterator[CheckedDay]:
        """Each day of the chain, and the days that lack a seal.

        The whole chain is followed; only the evidence from `first` to `last` is compared.
        Raises DatabaseError.
        """
        before: CusEvidenceSeal | None = None
        seals = CusEvidenceSeal.objects.filter(tenant_id=self.tenant_id)
        for seal in seals.order_by("day").iterator(chunk_size=500):
            checked = CheckedDay(self.tenant_id, seal.day)
            checked.faults += self._faults_of_link(seal, before)
            checked.late = seal.sealed_at - start_of(seal.day + _ONE_DAY) > _LATE_AFTER
            self._check(seal, checked, compare=first <= seal.day <= last)
            yield checked
            before = seal
        yield from self._unsealed(before)

    def _faults_of_link(
        self, seal: CusEvidenceSeal, before: CusEvidenceSeal | None
    ) -> Iterator[str]:
        if before is None:
            earliest = first_day(self.tenant_id)
            if earliest and earliest < seal.day:
                yield f"evidence received before this first sealed day was added, on {earliest}"
            if seal.previous != CusEvidenceSeal.START:
                yield "seals missing: this is not the first seal, but none is before it"
        elif before.day + _ONE_DAY < seal.day:
            yield f"seals missing from {before.day + _ONE_DAY} to {seal.day - _ONE_DAY}"
        elif seal.previous != before.digest:
            yield "chain broken: this seal does not follow the seal of the day before"

    def _check(self, seal: CusEvidenceSeal, checked: CheckedDay, *, compare: bool) -> None:
        form, key = FORMS.get(seal.form), self._keys.get(seal.key_id)
        if form is None:
            checked.faults.append(
                f"the canonical form {seal.form} is unknown: verify with the release that sealed"
            )
        elif key is None:
            checked.faults.append(
                f"the secret {seal.key_id} is missing: put the secret that sealed this day back "
                "into CUS_SEAL_SECRET"
            )
        elif not hmac.compare_digest(digest_of(seal, key), seal.digest):
            checked.faults.append("seal altered: its digest is not that of its columns")
        elif compare:
            self._compare(seal, key, checked)
            checked.compared = True

    @transaction.atomic
    def _compare(self, seal: CusEvidenceSeal, key: bytes, checked: CheckedDay) -> None:
        with reading() as cursor:
            found = contents_of(cursor, seal, key)
        month = Month.of(seal.day)
        for kind, content in found.items():
            expected = content_in(seal, kind)
            if kind == "rows" and expected.count and month not in self._months:
                self._note_missing_month(month, checked)
            elif content != expected:
                checked.faults.append(f"{_LABELS[kind]}: {_change(content, expected)}")

    def _note_missing_month(self, month: Month, checked: CheckedDay) -> None:
        missing = f"usage rows: the table of {month} is missing"
        if month not in self._dropped:
            checked.faults.append(f"{missing}, and retention has not dropped it")
        elif month > Month.of(self._now).shifted(-LEAST_KEPT_MONTHS):
            checked.faults.append(f"{missing}; retention drops no month that recent")
        else:
            checked.dropped = True

    def _unsealed(self, last: CusEvidenceSeal | None) -> Iterator[CheckedDay]:
        first = last.day + _ONE_DAY if last else first_day(self.tenant_id)
        due = last_closed_day(self._now, after=_OVERDUE_AFTER)
        if first and first <= due:
            yield CheckedDay(self.tenant_id, first, faults=[f"seals missing from {first} to {due}"])


def _change(found: Content, expected: Content) -> str:
    more = found.count - expected.count
    if not more:
        return "altered"
    return f"{abs(more):,} {'more' if more > 0 else 'fewer'} than sealed"


def tenants_to_verify() -> list[uuid.UUID]:
    """The tenants that have or should have seals."""
    of_seals = CusEvidenceSeal.objects.order_by().values_list("tenant_id", flat=True).distinct()
    return sorted({*seal_tenants(), *of_seals})
