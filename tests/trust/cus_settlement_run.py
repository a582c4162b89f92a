"""Processes report calls of unknown usage and their answers, and are killed, as the servers are.

Two months of reports: after the first, all that is stored is moved a month back. Rows, settlements and
totals are compared at any moment, and in the end each answer with what it must come to.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.e2e.cus_served import ROOT
from tests.trust.cus_audit import findings
from tests.trust.cus_findings import Findings
from tests.trust.cus_late_answers import (
    RESERVED,
    LateAnswer,
    Report,
    late_answers,
    shuffled_batches,
)
from tests.trust.cus_real_product import RealProduct, Row

_SENDERS = 3
_SECONDS = 180.0
_LENT = 10**12
# What is killed in each month, in this order, and how far the senders go on into that.
MANY_KILLS = (("sender", "worker", "sender", "server", "sender"),) * 2
FEW_KILLS = (("sender",), ("server", "sender"))
_INTO = 0.08
_AUDIT_SECONDS = 0.5


@dataclass
class SettlementResult(Findings):
    """What was seen. `findings` are what must not be."""

    seen: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return ", ".join(f"{count:,} {what}" for what, count in self.seen.items())


class Sender:
    """A program that delivers its batches. Killed, it begins again where it was acknowledged."""

    def __init__(
        self, ports: list[int], key: str, batches: list[list[Report]], folder: Path
    ) -> None:
        folder.mkdir()
        self.batches = batches
        self._done, self._limit = folder / "done", folder / "limit"
        (folder / "batches").write_text(
            "\n".join(json.dumps({"records": batch}) for batch in batches)
        )
        self._done.touch()
        self.allow(0)
        names = {name: str(folder / name) for name in ("batches", "done", "limit")}
        self._options = json.dumps({"ports": ports, "key": key, **names}).encode() + b"\n"
        self.start()

    def start(self) -> None:
        """Begin, or go on after a kill."""
        program = [sys.executable, "-m", "tests.trust.cus_report_sender"]
        self._process = subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE)
        assert self._process.stdin
        self._process.stdin.write(self._options)
        self._process.stdin.close()

    def allow(self, part: float) -> None:
        """Let it send that part of its batches."""
        written = self._limit.with_suffix(".written")
        written.write_text(str(part))
        written.replace(self._limit)

    def done(self) -> int:
        """How many of its batches were acknowledged."""
        return self._done.read_bytes().count(b"\n")

    def outcomes(self) -> list[dict[str, Any]]:
        """What became of each batch that was acknowledged."""
        return [json.loads(line) for line in self._done.read_text().splitlines()]

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.wait()


class SettlementRun:
    """One integration's answers, reported in two months; call `execute` in the main thread."""

    def __init__(
        self,
        product: RealProduct,
        key: str,
        *,
        answers: int,
        seed: int,
        kills: Sequence[Sequence[str]] = MANY_KILLS,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.product = product
        self.result = SettlementResult()
        self._key = key
        self._tenant_id, self._integration_id = map(uuid.UUID, key.split(":")[:2])
        self._lease_id = uuid.uuid4()
        self._answers = late_answers(answers, seed=seed, lease_id=str(self._lease_id))
        self._rng = random.Random(seed)
        self._kills = kills
        self._say = say
        self._folder = Path()
        self._next_audit = 0.0

    def execute(self) -> SettlementResult:
        """Report both months, with kills in between, and compare what is stored."""
        first, later = self._kills
        with tempfile.TemporaryDirectory() as folder, self.product.connect() as connection:
            self._folder = Path(folder)
            self._set_aside(connection)
            self._report("first", [answer.first for answer in self._answers], first)
            self._audit()
            _move_to_last_month(connection, self._integration_id)
            self._audit()
            self._report("later", [answer.later for answer in self._answers], later)
            self._audit()
            self._compare(connection)
        return self.result

    def _set_aside(self, connection: "psycopg.Connection[Row]") -> None:
        """A lease for the leased calls, and a hold for each call of another third."""
        connection.execute(
            "INSERT INTO cus_enforcement_leases (tenant_id, id, integration_id, holder_id, cents,"
            " microcents, tokens, calls, taken_at, expires_at)"
            " VALUES (%s, %s, %s, 'sender', %s, %s, %s, %s, now(), now() + interval '1 hour')",
            [self._tenant_id, self._lease_id, self._integration_id, *[_LENT] * 4],
        )
        for answer in self._answers[::3]:
            for call_id in answer.call_ids:
                connection.execute(
                    "INSERT INTO cus_enforcement_holds (tenant_id, integration_id, call_id, cents,"
                    " microcents, tokens, taken_at, expires_at)"
                    " VALUES (%s, %s, %s, 7, 6500000, 900, now(), now() + interval '1 hour')",
                    [self._tenant_id, self._integration_id, call_id],
                )

    # --- A month -----------------------------------------------------------------------------------

    def _report(self, month: str, reports: list[list[Report]], kills: Sequence[str]) -> None:
        flat = [report for part in reports for report in part]
        ports = [web.port for web in self.product.webs]
        with ExitStack() as stack:
            senders = []
            for number, batches in enumerate(shuffled_batches(flat, _SENDERS, self._rng)):
                sender = Sender(ports, self._key, batches, self._folder / f"{month}-{number}")
                stack.callback(sender.kill)
                senders.append(sender)
            for number, what in enumerate(kills, start=1):
                at = number / (len(kills) + 1)
                self._go_on(senders, at, at + _INTO)
                self._kill(what, senders)
            self._go_on(senders, 1.0, 1.0)
        self._note(senders)

    def _go_on(self, senders: list[Sender], until: float, limit: float) -> None:
        """Let them send to `limit`; returns once they have come to `until`."""
        deadline = time.monotonic() + _SECONDS
        batches = sum(len(sender.batches) for sender in senders)
        for sender in senders:
            sender.allow(limit)
        while sum(sender.done() for sender in senders) < until * batches:
            if time.monotonic() > deadline:
                self.result.find("the senders were not done in time")
                return
            if time.monotonic() > self._next_audit:
                self._audit()
            time.sleep(0.005)

    def _kill(self, what: str, senders: list[Sender]) -> None:
        self.result.seen[f"{what} kills"] += 1
        if what == "sender":
            sender = self._rng.choice(senders)
            sender.kill()
            sender.start()
            return
        number = self.result.seen[f"{what} kills"] % len(self.product.webs)
        if what == "worker":
            self.product.webs[number].kill_worker()
        self.product.restart_web(number)

    def _audit(self) -> None:
        started = time.monotonic()
        with self.product.connect() as connection:
            for finding in findings(connection):
                self.result.find(finding)
        self.result.seen["audits"] += 1
        # A tenth of the time at most: it reads every row.
        took = time.monotonic() - started
        self._next_audit = time.monotonic() + max(_AUDIT_SECONDS, 10 * took)

    def _note(self, senders: list[Sender]) -> None:
        """What the senders were told: nothing contradicts, and no usage is taken twice."""
        for sender in senders:
            for batch, outcome in zip(sender.batches, sender.outcomes(), strict=True):
                self.result.seen["reports"] += len(batch)
                self.result.seen["broken off"] += outcome["attempts"] - 1
                statuses = outcome["statuses"]
                self.result.seen.update(statuses)
                if not {"accepted", "duplicate"}.issuperset(statuses):
                    self.result.find(f"a batch was answered {statuses}")
        self._say(str(self.result))

    # --- In the end ----------------------------------------------------------------------------------

    def _compare(self, connection: "psycopg.Connection[Row]") -> None:
        costs = self._costs(connection)
        for answer in self._answers:
            self.result.seen[f"answers {answer.kind}"] += 1
            if costs.get(answer.response_id) != (answer.microcents, self._waiting(answer)):
                self.result.find(
                    f"{answer.response_id} ({answer.kind}) came to {costs.get(answer.response_id)},"
                    f" not to {(answer.microcents, self._waiting(answer))}"
                )
        self._compare_ids(connection)
        self._compare_set_aside(connection)

    def _waiting(self, answer: LateAnswer) -> int:
        """How many calls of an answer stay provisional: those of which nobody tells anything."""
        return 0 if answer.is_told else len(answer.call_ids)

    def _costs(self, connection: "psycopg.Connection[Row]") -> dict[str, tuple[int, int]]:
        """By answer: its cost in microcents, and how many of its calls are not settled."""
        rows = connection.execute(_COSTS, {"integration": self._integration_id})
        return {name: (int(cost), waiting) for name, cost, waiting in rows}

    def _compare_ids(self, connection: "psycopg.Connection[Row]") -> None:
        """Every call id that was reported leads to one row: its own, or that of its answer."""
        stored: Counter[str] = Counter()
        for table in ("cus_llm_usage", "cus_call_aliases"):
            statement = f"SELECT call_id FROM {table} WHERE integration_id = %s"
            found = connection.execute(statement.encode(), [self._integration_id])
            stored.update(name for (name,) in found)
        reported = {name for answer in self._answers for name in answer.reported_ids}
        if stored != Counter(reported):
            wrong = (stored - Counter(reported)) + (Counter(reported) - stored)
            self.result.find(f"{len(wrong)} call ids are not stored once: {sorted(wrong)[:5]}")

    def _compare_set_aside(self, connection: "psycopg.Connection[Row]") -> None:
        """No hold is left, and the lease is lowered once for each leased call."""
        held = connection.execute(
            "SELECT count(*) FROM cus_enforcement_holds WHERE integration_id = %s",
            [self._integration_id],
        ).fetchone()
        if held != (0,):
            self.result.find(f"holds are left: {held}")
        left = connection.execute(
            "SELECT cents, microcents, tokens, calls FROM cus_enforcement_leases WHERE id = %s",
            [self._lease_id],
        ).fetchone()
        calls = sum(len(answer.call_ids) for answer in self._answers if answer.lease_id)
        amounts = [*RESERVED.values(), 1]
        if left != tuple(_LENT - calls * amount for amount in amounts):
            self.result.find(f"the lease has {left} left after {calls} calls")


_COSTS = """
SELECT usage.response_id,
    sum(usage.cost_microcents + coalesce(settlement.cost_microcents, 0)),
    count(*) FILTER (WHERE usage.pricing = 'unmeasured' AND settlement.id IS NULL)
FROM cus_llm_usage AS usage LEFT JOIN cus_usage_settlements AS settlement
    ON settlement.tenant_id = usage.tenant_id AND settlement.usage_id = usage.id
WHERE usage.integration_id = %(integration)s GROUP BY 1
"""
# The moments by which a fact belongs to a month.
_MOMENTS = (
    ("cus_llm_usage", "created_at"),
    ("cus_call_ledger", "usage_created_at"),
    ("cus_call_aliases", "usage_created_at"),
    ("cus_usage_settlements", "usage_created_at"),
    ("cus_usage_settlements", "created_at"),
)
_LAST_MONTH = "(date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')"


def _move_to_last_month(connection: "psycopg.Connection[Row]", integration_id: uuid.UUID) -> None:
    """As if all that is stored of an integration had come on the third of last month."""
    moved = f"{_LAST_MONTH} AT TIME ZONE 'UTC' + interval '2 days'"
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        for table, moment in _MOMENTS:
            statement = f"UPDATE {table} SET {moment} = {moved} WHERE integration_id = %s"
            connection.execute(statement.encode(), [integration_id])
        connection.execute(
            f"UPDATE cus_period_totals SET period = {_LAST_MONTH}::date"
            " WHERE integration_id = %s".encode(),
            [integration_id],
        )
