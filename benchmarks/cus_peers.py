"""Peers on the same PostgreSQL: the time until sent events are stored."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import psycopg
from psycopg import sql
from rich.console import Console

from aos_project.cus_embedded import ServiceError
from benchmarks.cus_databases import Sender, new_database, superuser
from benchmarks.cus_loading import put_load
from benchmarks.cus_peer_servers import PEERS, NotInstallable, Peer, quiet_environment, server
from benchmarks.cus_report import Section
from benchmarks.cus_served import PRODUCT, free_port, running, served
from benchmarks.cus_sizes import Sizes
from benchmarks.cus_targets import BESIDE_PEERS

# What the SDK sends, unless told otherwise.
_OUR_BATCH = 50
_ROUNDS = 2
_START_SECONDS = 180.0
_LOOK_EVERY_SECONDS = 0.1


def measure(sizes: Sizes, sender: Sender, console: Console) -> Section:
    section = Section(
        "Events a second until stored, beside peers at their defaults (same PostgreSQL, same run)",
        ("peer", "ours is", "target", "peer, events/s", "ours, events/s", "the peer gets"),
    )
    with served(PRODUCT, new_database("bench_ours")) as ours:
        for number, peer in enumerate(PEERS):
            try:
                console.print(f"Installing {peer.name} {peer.version} unless it is there …")
                peer.install()
                row = _row(peer, f"bench_peer_{number}", ours, sizes, sender)
                section.rows.append(row)
            except (NotInstallable, ServiceError, PeerFailed) as reason:
                section.notes.append(f"[yellow]Skipped {peer.name} {peer.version}: {reason}[/]")
    section.notes.append(f"Ours: HTTP, batches of {_OUR_BATCH}, as the SDK sends them.")
    return section


class PeerFailed(Exception):
    """A peer was installed but did not store the events that it was sent."""


def _row(peer: Peer, database: str, ours: int, sizes: Sizes, sender: Sender) -> list[str]:
    rates: list[tuple[float, float]] = []
    with _peer_served(peer, database) as (port, folder):
        for _ in range(_ROUNDS):
            load = put_load(ours, sender, batch=_OUR_BATCH, seconds=sizes.http_seconds)
            theirs = _events_a_second(peer, database, port, folder, sizes)
            rates.append((load.events_a_second, theirs))
    times = median(mine / theirs for mine, theirs in rates)
    return [
        f"{peer.name} {peer.version}",
        f"{times:,.0f} x",
        BESIDE_PEERS.verdict(times),
        f"{median(theirs for _, theirs in rates):,.0f}",
        f"{median(mine for mine, _ in rates):,.0f}",
        peer.sends,
    ]


@contextmanager
def _peer_served(peer: Peer, database: str) -> Iterator[tuple[int, str]]:
    create = sql.SQL("CREATE DATABASE {} OWNER cus_owner").format(sql.Identifier(database))
    with superuser("postgres") as connection:
        connection.execute(create)
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(server(peer, database, port, folder), port, _START_SECONDS),
    ):
        yield port, folder


def _events_a_second(peer: Peer, database: str, port: int, folder: str, sizes: Sizes) -> float:
    """Seconds from the first event sent until all events are rows, or time is up."""
    with subprocess.Popen(
        peer.client_command(port, sizes.peer_events),
        env=quiet_environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdin
        assert client.stdout
        if client.stdout.readline() != "ready\n":
            raise PeerFailed("its client could not start; its traceback is above")
        with superuser(database) as connection:
            before, started = _stored(connection, peer), time.monotonic()
            client.stdin.write("go\n")
            client.stdin.flush()
            stored, seconds = _watch(connection, peer, before, started, sizes)
        client.kill()
    if not stored:
        raise PeerFailed(f"nothing was stored within {seconds:.0f} s")
    return stored / seconds


def _watch(
    connection: "psycopg.Connection[tuple[int]]",
    peer: Peer,
    before: int,
    started: float,
    sizes: Sizes,
) -> tuple[int, float]:
    while True:
        time.sleep(_LOOK_EVERY_SECONDS)
        stored, seconds = _stored(connection, peer) - before, time.monotonic() - started
        if stored >= sizes.peer_events or seconds > sizes.peer_seconds:
            return stored, seconds


def _stored(connection: "psycopg.Connection[tuple[int]]", peer: Peer) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(peer.table))
    ).fetchone()
    return row[0] if row else 0
