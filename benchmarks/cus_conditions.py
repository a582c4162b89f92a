"""The conditions of a run, without which its figures mean nothing."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from django.db import connection

from benchmarks.cus_report import Section
from benchmarks.cus_sizes import Sizes

_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
_PACKAGES = ("django", "djangorestframework", "psycopg", "granian", "msgspec")


def machine(packages: Sequence[str]) -> Section:
    """The time, the machine and the versions."""
    section = Section("Conditions", ("what", "is"))
    processors = len(os.sched_getaffinity(0))
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    section.rows = [
        ("date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("machine", f"{processors} cores, {_memory_gib():.0f} GiB, {platform.machine()}"),
        ("load average at the start", " ".join(f"{load:.2f}" for load in os.getloadavg())),
        ("Python", f"{platform.python_version()}, {versions}"),
    ]
    if os.getloadavg()[0] > processors / 2:
        section.notes.append("[yellow]Something else keeps this machine busy.[/]")
    return section


def conditions(sizes: Sizes) -> Section:
    """The database's version and settings, as the product's own connection sees them."""
    section = machine(_PACKAGES)
    section.rows += [
        ("PostgreSQL", ", ".join(_postgresql())),
        ("rounds", f"{sizes.rounds} on the database, {sizes.http_rounds} over HTTP"),
    ]
    return section


def _memory_gib() -> float:
    kilobytes = Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]
    return int(kilobytes) / 2**20


def _postgresql() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(_SETTINGS)]
        )
        found = dict(cursor.fetchall())
    return [found["server_version"], *(f"{name} {found[name]}" for name in _SETTINGS[1:])]
