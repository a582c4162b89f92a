"""Tell of an event once: the event and its deliveries are rows of the caller's transaction.

So what is rolled back is not told, and a worker that is killed loses nothing. Every plane announces
here; `delivery` sends.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from integrations.cus_accounts.models import CusUser
from integrations.cus_console.amounts import dollars
from integrations.cus_lifecycle.limits import Unit, Window, day_start
from integrations.cus_notifications.kinds import LEVELS, Kind, level_of
from integrations.cus_notifications.models import (
    CusMutedNotifications,
    CusNotificationDelivery,
    CusNotificationEvent,
    CusNotificationTarget,
)

# Where the window of a limit without an end began.
ALL_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
# No program causes these by the thousand: they are told, however many others there are.
_NEVER_WITHHELD: Final = (Kind.STOP_MADE, Kind.CREDENTIAL_INVALID, Kind.TEST, Kind.TOO_MANY)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Notice:
    """What to tell. `subject`, `value` and `window_start` name the transition, with the kind.

    `path` is the console's page, from the host on; `details` are for programs, and hold no secret
    and nothing of a prompt.
    """

    tenant_id: uuid.UUID
    integration_id: uuid.UUID | None
    kind: Kind
    subject: str
    window_start: datetime
    summary: str
    path: str
    value: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LimitReading:
    """What is taken of one limit now. Money is in microcents.

    `limit` names the limit for programs (a column of the integration, or a limit's id), `label` for
    people. `limit_id` is that of a limit at a scope. `window_start` is None for a window that slides.
    """

    tenant_id: uuid.UUID
    integration_id: uuid.UUID | None
    integration: str
    limit: str
    label: str
    unit: Unit
    window: Window
    window_start: datetime | None
    used: int
    held: int
    amount: int
    scope: str = "integration"
    value: str = ""
    limit_id: uuid.UUID | None = None

    @property
    def path(self) -> str:
        """The console's page of the limit: its own, or that of the integration whose limit it is."""
        return f"/console/limits/{self.limit_id or self.integration_id}"

    @property
    def taken(self) -> int:
        """Used, and held or lent to running calls, as checks count it (ruling F3)."""
        return self.used + self.held

    @property
    def subject(self) -> str:
        """The limit and its amount: a limit that is changed is told of anew."""
        return f"{self.limit}:{self.amount}"


def window_key(window: Window, start: datetime | None, now: datetime) -> datetime:
    """The start by which a window is told of once.

    A window that slides begins with each call, so people are told of it once a day (UTC).
    """
    if window is Window.LIFE:
        return ALL_TIME
    return start or day_start(now)


def started(window: Window, now: datetime) -> datetime:
    """The start by which the present window is told of once (`window_key`)."""
    return window_key(window, window.start(now), now)


def announce_limits(readings: Iterable[LimitReading], *, now: datetime) -> int:
    """Tell of each limit's highest level that was not told of in its window; return the number.

    A level below one that was told of is not told of: what is taken may fall and rise again.
    """
    reached = [
        (reading, level, window_key(reading.window, reading.window_start, now))
        for reading in readings
        if (level := level_of(reading.taken, reading.amount))
    ]
    told = _levels_told({reading.tenant_id for reading, _, _ in reached}, reached)
    count, full = 0, set[uuid.UUID]()
    for reading, level, start in reached:
        if reading.tenant_id in full or level <= told.get(_key(reading, start), 0):
            continue
        if announce(_limit_notice(reading, level, start)):
            count += 1
        elif _is_full(reading.tenant_id):
            # Of a limit of each value, thousands may be reached at once.
            full.add(reading.tenant_id)
    return count


def _key(reading: LimitReading, start: datetime) -> tuple[Any, ...]:
    return (reading.tenant_id, reading.integration_id, reading.subject, reading.value, start)


def _levels_told(
    tenants: Collection[uuid.UUID], reached: Collection[tuple[LimitReading, int, datetime]]
) -> dict[tuple[Any, ...], int]:
    """The highest level that was told of, by limit and window."""
    levels = {kind: level for level, kind in LEVELS.items()}
    events = CusNotificationEvent.objects.filter(
        tenant_id__in=tenants,
        kind__in=levels,
        window_start__in={start for _, _, start in reached},
        subject__in={reading.subject for reading, _, _ in reached},
    )
    names = ("tenant_id", "integration_id", "subject", "value", "window_start", "kind")
    told: dict[tuple[Any, ...], int] = {}
    for *key, kind in events.values_list(*names):
        told[tuple(key)] = max(told.get(tuple(key), 0), levels[Kind(kind)])
    return told


def _limit_notice(reading: LimitReading, level: int, start: datetime) -> Notice:
    whose = f" of {reading.integration}" if reading.integration else ""
    amounts = [shown(one, reading.unit) for one in (reading.taken, reading.amount)]
    held = f", {shown(reading.held, reading.unit)} of it by running calls" if reading.held else ""
    return Notice(
        tenant_id=reading.tenant_id,
        integration_id=reading.integration_id,
        kind=LEVELS[level],
        subject=reading.subject,
        value=reading.value,
        window_start=start,
        summary=f"{level} % of the limit{whose} is taken: {reading.label}, "
        f"{amounts[0]} of {amounts[1]}{held}"[:500],
        path=reading.path,
        details={
            "limit": reading.limit,
            "scope": reading.scope,
            "value": reading.value,
            "unit": "microcents" if reading.unit is Unit.CENTS else reading.unit.value,
            "window": reading.window.value,
            "level": level,
            "used": reading.used,
            "held": reading.held,
            "amount": reading.amount,
        },
    )


def shown(amount: int, unit: Unit) -> str:
    """An amount of a unit, for people; money is in microcents."""
    return dollars(amount) if unit is Unit.CENTS else f"{amount:,} {unit.value}"


@transaction.atomic
def announce(notice: Notice) -> CusNotificationEvent | None:
    """Keep the event and its deliveries; None if it was told before, or is withheld.

    Of two workers at once one tells: the other waits for the first to commit, and finds its row.
    """
    if notice.kind not in _NEVER_WITHHELD and _is_full(notice.tenant_id):
        _tell_of_withholding(notice.tenant_id)
        return None
    event, is_new = CusNotificationEvent.objects.get_or_create(
        tenant_id=notice.tenant_id,
        integration_id=notice.integration_id,
        kind=notice.kind,
        subject=notice.subject,
        value=notice.value,
        window_start=notice.window_start,
        defaults={
            "summary": notice.summary[:500],
            "path": notice.path,
            "details": dict(notice.details),
        },
    )
    if not is_new:
        return None
    CusNotificationDelivery.objects.bulk_create(
        CusNotificationDelivery(tenant_id=event.tenant_id, event=event, target=target)
        for target in _listening(notice)
    )
    return event


def _listening(notice: Notice) -> list[CusNotificationTarget]:
    """The targets that are told of a notice: neither they nor their person has muted its kind."""
    targets = CusNotificationTarget.objects.filter(
        tenant_id=notice.tenant_id, deleted_at__isnull=True, tenant__closed_at__isnull=True
    )
    listening = list(targets.exclude(muted_kinds__contains=[notice.kind]))
    spared = _spared({target.address.lower() for target in listening}, notice.kind)
    return [target for target in listening if target.address.lower() not in spared]


def _spared(addresses: Collection[str], kind: Kind) -> set[str]:
    """Those of the addresses whose person has muted the kind, or has lost every role."""
    muted = CusMutedNotifications.objects.filter(kinds__contains=[kind]).values("person_id")
    # Who left is told no more, though an admin forgot to remove the address.
    is_gone = Q(is_active=False) | Q(
        membership=None, is_superuser=False, is_support=False, is_finance=False
    )
    people = CusUser.objects.annotate(lower=Lower("email")).filter(lower__in=addresses)
    spared = people.filter(is_gone | Q(id__in=muted))
    return set(spared.values_list("lower", flat=True))


def _is_full(tenant_id: uuid.UUID) -> bool:
    """Whether the tenant has had its events of a day; 0 means unlimited."""
    most = int(settings.CUS_NOTIFICATIONS_A_DAY)
    lately = CusNotificationEvent.objects.filter(
        tenant_id=tenant_id, created_at__gt=timezone.now() - _DAY
    )
    return bool(most) and lately.count() >= most


def _tell_of_withholding(tenant_id: uuid.UUID) -> None:
    """Tell, once a day, that further events are not told."""
    most = f"{int(settings.CUS_NOTIFICATIONS_A_DAY):,}"
    log.warning("notifications withheld", tenant_id=str(tenant_id))
    announce(
        Notice(
            tenant_id=tenant_id,
            integration_id=None,
            kind=Kind.TOO_MANY,
            subject="a_day",
            window_start=day_start(timezone.now()),
            summary=f"More than {most} events within a day: further ones are not told for now. "
            "Stops and invalid credentials are.",
            path="/admin/",
        )
    )
