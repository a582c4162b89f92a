"""Amounts that limits bind: cost in both units, and tokens."""

from typing import NamedTuple

# Beyond this a column can't hold it; sums are kept at their end, never over it.
MOST = 2**63 - 1


class Amounts(NamedTuple):
    """What calls cost or may cost: whole cents, exact microcents (10⁻⁶ cent), tokens."""

    cents: int = 0
    microcents: int = 0
    tokens: int = 0

    def plus(self, other: "Amounts") -> "Amounts":
        """The sum of both."""
        return Amounts._make(min(a + b, MOST) for a, b in zip(self, other, strict=True))

    def covers(self, other: "Amounts") -> bool:
        """Whether no part of `other` is more than ours."""
        return all(a >= b for a, b in zip(self, other, strict=True))

    def at_least(self, other: "Amounts") -> "Amounts":
        """The larger of each."""
        return Amounts._make(map(max, self, other))


# No call costs less: one cent (ruling M2), one microcent, one token (ruling F3a).
LEAST = Amounts(1, 1, 1)


class LeaseAmounts(NamedTuple):
    """What a lease lends, a call of a lease takes, or room has: amounts, and a number of calls."""

    cents: int = 0
    microcents: int = 0
    tokens: int = 0
    calls: int = 0


def summed(expression: str) -> str:
    """SQL for the sum of an expression over rows: 0 over none, and at most what a column holds."""
    return capped(f"coalesce(sum({expression}), 0)")


def capped(expression: str) -> str:
    """SQL for a number, or for the most that a column holds: programs may make up amounts."""
    return f"least({expression}, {MOST})::bigint"


class _Expressions(NamedTuple):
    """SQL over the rows of `cus_period_totals` of a month, for each amount."""

    cents: str
    microcents: str
    tokens: str


# What limits count of a month as used: calls as recorded and corrected (rulings M3a and M9), and of
# unmeasured calls the provisional amounts, until a settlement takes them out again (ruling M5b).
# Corrections may come to more than the rest.
_USED_MICROCENTS = summed(
    "cost_microcents::numeric + correction_microcents + provisional_microcents"
    " - released_microcents"
)
USED = _Expressions(
    summed("counted_cents::numeric + provisional_cents - released_cents"),
    f"greatest({_USED_MICROCENTS}, 0)",
    summed("tokens_in::numeric + tokens_out + provisional_tokens - released_tokens"),
)

# SQL that joins what limits count of the month that begins at `%(period)s`, as `used`, to each
# `integration` in sight. One integration at a time, by the totals' key: there are more totals each
# month.
USED_IN_MONTH = f"""CROSS JOIN LATERAL (
    SELECT {USED.cents} AS cents, {USED.microcents} AS microcents, {USED.tokens} AS tokens
    FROM cus_period_totals WHERE period = %(period)s
        AND (tenant_id, integration_id) = (integration.tenant_id, integration.id)
) AS used"""  # noqa: S608  (the names are this module's own)
