"""Months as a URL names them."""

from datetime import UTC, date, datetime, timedelta

from django.urls import register_converter

from integrations.cus_lifecycle.limits import month_of
from telemetry.cus_reads.periods import Period


class MonthConverter:
    """`2026-11` in a URL: the first day of that month."""

    regex = r"2\d{3}-(?:0[1-9]|1[0-2])"

    def to_python(self, value: str) -> date:
        """The first day of the month."""
        return date.fromisoformat(f"{value}-01")

    def to_url(self, value: date) -> str:
        """The month of a day."""
        return f"{value:%Y-%m}"


register_converter(MonthConverter, "month")


def period_of_month(month: date) -> Period:
    """The month, in UTC, in which the day is."""
    start, end = month_of(datetime(month.year, month.month, 1, tzinfo=UTC))
    return Period(start, end)


# An ingest transaction lasts 30 s at most, so nothing of a month commits later than this (E8a).
CLOSING_WAIT = timedelta(minutes=10)
