"""What is taken of budgets in code, for people.

For display only: a decision reads the same tables under its own lock (ruling F5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection

from telemetry.cus_holds.limit_models import CusRunLimit
from telemetry.cus_holds.limit_sums import TAKEN, LimitTaken, sums_of, taken_of
from telemetry.cus_money.amounts import LeaseAmounts

UNITS: Final = LeaseAmounts._fields
_TAKEN: Final = f"""
SELECT asked.limit_id, {TAKEN}
FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS asked(tenant_id, limit_id, value),
    (SELECT now() AS now) AS moment,
    {sums_of("asked.limit_id", "asked.value", "'life'", "asked.tenant_id")}
"""  # noqa: S608  (the names are the tables' own)


@dataclass(frozen=True)
class RunAmount:
    """One amount of a session's budget, in its unit: what code gave, what holds, what is taken.

    `raised_to` is None where no person has raised it.
    """

    unit: str
    by_code: int
    raised_to: int | None
    used: int
    held: int
    leased: int

    @property
    def limit(self) -> int:
        """What the session may use in all."""
        return self.by_code if self.raised_to is None else self.raised_to

    @property
    def left(self) -> int:
        """What calls may still take."""
        return max(self.limit - self.used - self.held - self.leased, 0)


def amounts_of(rows: Sequence[CusRunLimit]) -> Mapping[UUID, Sequence[RunAmount]]:
    """The amounts of budgets in code with what is taken of them, by the budgets' ids."""
    taken: dict[UUID, LimitTaken] = {}
    with connection.cursor() as cursor:
        asked = [[getattr(row, name) for row in rows] for name in _ASKED]
        cursor.execute(_TAKEN, asked)
        for limit_id, *numbers in cursor:
            taken[limit_id] = taken_of(numbers)
    return {row.limit_id: _amounts(row, taken[row.limit_id]) for row in rows}


_ASKED: Final = ("tenant_id", "limit_id", "session_id")


def _amounts(row: CusRunLimit, taken: LimitTaken) -> list[RunAmount]:
    return [
        RunAmount(
            unit,
            by_code,
            getattr(row, f"raised_{unit}"),
            *(getattr(part, unit) for part in (taken.used, taken.held, taken.leased)),
        )
        for unit in UNITS
        if (by_code := getattr(row, unit)) is not None
    ]
