"""Time zones in which a tenant's people read days and months. Budgets always go by UTC."""

from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from integrations.cus_web.errors import CusError


class TimeZoneUnknown(CusError):
    """There is no such time zone. Name a zone of the IANA database, such as Europe/Berlin or UTC."""

    attr = "time_zone"


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_named(name: str) -> ZoneInfo:
    """The zone of an IANA name, letters as IANA writes them. Raises TimeZoneUnknown."""
    if name not in _names():
        raise TimeZoneUnknown
    return ZoneInfo(name)
