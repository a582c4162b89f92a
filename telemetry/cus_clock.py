"""The clock that months, days and holds go by: the database's (ruling E3).

The clocks of web and worker processes may differ from it. What they would count or end by
their own clock would belong to another month than the one that a check decides by.
"""

from datetime import datetime

from django.db import connections


def database_now(using: str = "default") -> datetime:
    """The moment by the database's clock, in UTC; inside a transaction too."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
