"""The clock of months, days and holds is the database's (ruling E3).

The clocks of web and worker processes may differ from the database's. By their own clock they would
count a call or end a hold in another month than a check does.
"""

from datetime import datetime

from django.db import connections
from django.http import HttpRequest

_ASKED = "_cus_page_now"


def database_now(using: str = "default") -> datetime:
    """The time of the database's clock, in UTC, also inside a transaction."""
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def page_now(request: HttpRequest) -> datetime:
    """The time of the database's clock when a page first asked for it: one for all of its panels."""
    moment: datetime | None = getattr(request, _ASKED, None)
    if moment is None:
        moment = database_now()
        setattr(request, _ASKED, moment)
    return moment
