"""What the system page looks at: each check has its figures, and what of them is not well."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import Count, Max, Min, Q
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from redis import Redis, RedisError

from aos_project.cus_queues import QUEUES
from aos_project.cus_schedule import BEAT_SCHEDULE
from enforcement.cus_decisions.models import CusEnforcementDecision
from integrations.cus_console.own_page import Link
from integrations.cus_console.panels import Cell
from integrations.cus_credentials.envelope import key_ring
from integrations.cus_credentials.models import CusCredential
from integrations.cus_mail.models import CusMail
from telemetry.cus_analytics.models import CusReconcileRun, CusRollupDue, CusRollupRun
from telemetry.cus_evidence.partitions import (
    TABLE,
    existing_months,
    partitions,
    wanted_months,
)
from telemetry.cus_holds.models import CusEnforcementHold
from telemetry.cus_seals.models import CusEvidenceSeal
from telemetry.cus_seals.service import last_closed_day

# Beat writes down its last runs every 3 minutes, so what is less late is no news.
_JOB_SLACK = timedelta(minutes=10)
_ROLLUP_LATE = timedelta(minutes=15)
_RECONCILE_LATE = timedelta(hours=26)
_SEAL_LATE = timedelta(hours=3)
_MAIL_LATE = timedelta(minutes=10)
# Twice the time that ruling F5b gives the sweeper.
_HOLD_LATE = timedelta(seconds=60)
_ONE_DAY = timedelta(days=1)
_DEEP = 1_000
_BROKER_SECONDS = 1
_NEVER = "never"


@dataclass(frozen=True)
class Checked:
    """A check's table, and in words what is not well."""

    headers: list[str]
    rows: list[list[Cell]]
    problems: list[str] = field(default_factory=list)
    empty: str = "There is nothing yet."


def jobs(now: datetime) -> Checked:
    """Beat's schedule and the last run of each job."""
    tasks = PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked")
    stored = {task.name: task for task in tasks}
    problems = [f"The job {name} is not scheduled." for name in BEAT_SCHEDULE if name not in stored]
    rows: list[list[Cell]] = []
    for name in sorted(stored):
        task = stored[name]
        last = task.last_run_at
        late = -task.schedule.remaining_estimate(last or task.date_changed)
        state = "on time"
        if not task.enabled:
            state = "switched off"
            problems.append(f"The job {name} is switched off.")
        elif late > _JOB_SLACK:
            state = f"late by {_length(late)}"
            problems.append(f"The job {name} is {state}: is beat running?")
        rows.append([name, _plan(task), _at(last), f"{task.total_run_count:,}", state])
    return Checked(["Job", "When", "Last run", "Runs", "State"], rows, problems)


def _plan(task: PeriodicTask) -> str:
    if task.interval:
        return f"every {task.interval.every:g} {task.interval.period}"
    cron = task.crontab
    if cron is None:
        return str(task.schedule)
    if cron.hour == "*":
        every = cron.minute.removeprefix("*/")
        is_often = cron.minute.startswith("*/")
        return f"every {every} minutes" if is_often else f"each hour at :{cron.minute:0>2}"
    return f"each day at {cron.hour:0>2}:{cron.minute:0>2} UTC"


def partitions_ahead(now: datetime) -> Checked:
    """The months of the tables of usage and decisions."""
    problems = []
    for table in (TABLE, CusEnforcementDecision._meta.db_table):
        missing = sorted(set(wanted_months(now)) - existing_months(table=table))
        if missing:
            months = ", ".join(map(str, missing))
            problems.append(f"{table} has no partition for {months}.")
    rows: list[list[Cell]] = [
        [str(one.month), f"{one.rows:,}", one.table_size, one.indexes_size] for one in partitions()
    ]
    return Checked(["Month of usage", "Rows (estimated)", "Table", "Indexes"], rows, problems)


def rollups(now: datetime) -> Checked:
    """How far hours and days are computed, and whether they agreed with the evidence."""
    problems = []
    last = CusRollupRun.objects.exclude(finished_at=None).order_by("-covered_to").first()
    if last is None or now - last.covered_to > _ROLLUP_LATE:
        to = f"to {_at(last.covered_to)}" if last else "never"
        problems.append(f"Hours and days are computed {to}: is a worker running?")
    due = CusRollupDue.objects.aggregate(
        hours=Count("hour"), failed=Count("hour", filter=Q(failures__gt=0))
    )
    if due["failed"]:
        problems.append(f"{due['failed']:,} hours could not be computed, and are tried again.")
    compared = CusReconcileRun.objects.exclude(finished_at=None).order_by("-started_at").first()
    differences = compared.differences.count() if compared else 0
    if differences:
        problems.append(f"The last comparison with the evidence found {differences:,} differences.")
    if compared and now - compared.started_at > _RECONCILE_LATE:
        problems.append(
            f"Analytics were last compared with the evidence {_at(compared.started_at)}."
        )
    rows: list[list[Cell]] = [
        ["Computed up to", _at(last.covered_to if last else None)],
        ["Hours that wait", f"{due['hours']:,}"],
        ["Compared with the evidence", _at(compared.started_at if compared else None)],
        ["Differences found", f"{differences:,}"],
    ]
    return Checked(["Hours and days", "State"], rows, problems)


def seals(now: datetime) -> Checked:
    """How far each tenant's days are sealed."""
    due = last_closed_day(now, _SEAL_LATE)
    last = CusEvidenceSeal.objects.values("tenant_id").annotate(last=Max("day"))
    sums = last.aggregate(tenants=Count("tenant_id"), oldest=Min("last"))
    late = last.filter(last__lt=due).count()
    problems = [f"{late:,} tenants have days that are not sealed."] if late else []
    oldest = sums["oldest"]
    rows: list[list[Cell]] = [
        ["Tenants with seals", f"{sums['tenants']:,}"],
        ["Sealed for all of them", f"up to {oldest:%Y-%m-%d}" if oldest else _NEVER],
    ]
    return Checked(["Seals of evidence", "State"], rows, problems)


def keys(_now: datetime) -> Checked:
    """The ring of keys, and what each of them seals."""
    ring = key_ring(settings.CUS_CREDENTIAL_KEYS)
    counts = dict(CusCredential.objects.values_list("key_id").annotate(Count("id")))
    lost = {name: count for name, count in counts.items() if name not in ring.keys}
    problems = [
        f"{count:,} credentials are sealed by the key {name}, which the ring lacks."
        for name, count in sorted(lost.items())
    ]
    rows: list[list[Cell]] = []
    for name in (*ring.keys, *sorted(lost)):
        use = "seals and opens" if name == ring.first_id else "opens"
        rows.append([name, use if name in ring.keys else "MISSING", f"{counts.get(name, 0):,}"])
    return Checked(["Key", "Use", "Credentials"], rows, problems)


def queues(now: datetime) -> Checked:
    """What waits for workers."""
    late = CusEnforcementHold.objects.filter(expires_at__lt=now - _HOLD_LATE)[:_DEEP].count()
    problems = [f"{late:,} holds are swept late: is the sweeper running?"] if late else []
    try:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=_BROKER_SECONDS) as broker:
            depths = {name: int(broker.llen(name)) for name in QUEUES}
    except RedisError as error:
        problems.append(f"The broker does not answer ({type(error).__name__}).")
        depths = {}
    problems += [
        f"{depth:,} tasks wait in the queue {name}: is its worker running?"
        for name, depth in depths.items()
        if depth >= _DEEP
    ]
    rows: list[list[Cell]] = [[name, f"{depth:,}"] for name, depth in depths.items()]
    rows.append(["Holds that wait to be swept", f"{late:,}"])
    return Checked(["Queue", "Waiting"], rows, problems)


def mail(now: datetime) -> Checked:
    """Mails that wait, and those that were given up."""
    waiting = CusMail.objects.filter(sent_at=None, dropped_at=None)
    sums = waiting.aggregate(mails=Count("id"), oldest=Min("next_try_at"), tried=Max("tries"))
    dropped = CusMail.objects.filter(dropped_at__gte=now - _ONE_DAY).count()
    sent = CusMail.objects.filter(sent_at__gte=now - _ONE_DAY).count()
    problems = []
    if sums["oldest"] and now - sums["oldest"] > _MAIL_LATE:
        problems.append(f"A mail waits since {_at(sums['oldest'])}: is a worker running?")
    if sums["tried"]:
        problems.append("The mail server refused mails, which are tried again.")
    if dropped:
        problems.append(f"{dropped:,} mails were given up within 24 hours.")
    rows: list[list[Cell]] = [
        ["Waiting", f"{sums['mails']:,}"],
        ["Sent within 24 hours", f"{sent:,}"],
        ["Given up within 24 hours", f"{dropped:,}"],
    ]
    if settings.CUS_LOCAL_MAIL_FOLDER:
        link = Link("on the page of mails", reverse("cus-local-mails")).html
        rows.append(["Written on this machine", link])
    return Checked(["Mail", "Mails"], rows, problems)


Check = Callable[[datetime], Checked]
# In the order of the page: the key of the part, its title, and its check.
CHECKS: Iterable[tuple[str, str, Check]] = (
    ("jobs", "Jobs", jobs),
    ("queues", "Queues", queues),
    ("partitions", "Partitions", partitions_ahead),
    ("rollups", "Rollups", rollups),
    ("seals", "Seals", seals),
    ("keys", "Key ring", keys),
    ("mail", "Mail", mail),
)


def _at(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else _NEVER


def _length(time: timedelta) -> str:
    minutes = int(time.total_seconds()) // 60
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
