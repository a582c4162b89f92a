"""Sends hostile records and bodies, and compares each answer with what must become of them."""

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.trust.cus_door import Door
from tests.trust.cus_findings import Findings
from tests.trust.cus_hostile import Record
from tests.trust.cus_real_product import Row

BATCH = "/api/v1/cus/telemetry/llm-usage/batch"
SINGLE = "/api/v1/cus/telemetry/llm-usage"
MAX_BYTES = 4 * 1024 * 1024
_FILL_BYTES = 3_500_000
_SINGLE_STATUS = {201: "accepted", 200: "duplicate", 409: "conflict", 400: "rejected"}
_SINGLE_STATUS |= {403: "rejected"}


@dataclass
class HostileResult(Findings):
    """What became of the records. `findings` are what must not be."""

    statuses: Counter[str] = field(default_factory=Counter)
    # Tokens in and out of what must be stored, by call id.
    stored: dict[str, tuple[Any, ...]] = field(default_factory=dict)


class HostileDelivery:
    """Delivers for one integration, and remembers what must be stored by now."""

    def __init__(self, door: Door, key: str) -> None:
        self.result = HostileResult()
        self.tenant_id, self._integration_id, _ = key.split(":")
        self._door = door
        self._raw: dict[str, bytes] = {}

    def deliver(self, records: Iterable[Record], *, batch: int = 200) -> None:
        """All of them in batches, every twentieth of which goes one by one."""
        for number, part in enumerate(_batches(records, batch)):
            if number % 20 == 19:
                for record in part:
                    self.deliver_single(record)
            else:
                self.deliver_batch(part)

    def deliver_batch(self, records: Sequence[Record]) -> None:
        """One batch; each record must come to what it must come to."""
        body = b'{"records": [' + b", ".join(record.raw for record in records) + b"]}"
        answer = self._door.post(BATCH, body)
        if answer.status != 200 or not answer.is_json:
            self.result.find(f"a batch was answered {answer}: {_short(body)}")
            return
        said = answer.json()
        results = {result["index"]: result for result in said["results"]}
        if [*results] != sorted(results) or len(results) != len(said["results"]):
            self.result.find(f"results are not in order, or twice: {[*results]}")
        told = Counter(result["status"] for result in said["results"])
        self._check_counts(said, told, len(records))
        for index, record in enumerate(records):
            outcome = results.get(index, {"status": "accepted", "attr": None, "call_id": None})
            self._judge(record, outcome["status"], outcome["attr"], outcome)

    def deliver_single(self, record: Record) -> None:
        """One record through the door for one."""
        answer = self._door.post(SINGLE, record.raw)
        if answer.status not in _SINGLE_STATUS or not answer.is_json:
            self.result.find(f"a record was answered {answer}: {_short(record.raw)}")
            return
        errors = answer.json().get("errors")
        attr = errors[0]["attr"] if errors else None
        self._judge(record, _SINGLE_STATUS[answer.status], None if attr == "record" else attr, None)

    def _check_counts(self, said: dict[str, Any], told: Counter[str], sent: int) -> None:
        right = {
            "total": sent,
            "accepted": sent - told.total(),
            "duplicates": told["duplicate"],
            "conflicts": told["conflict"],
            "rejected": told["rejected"],
        }
        if {name: said[name] for name in right} != right:
            self.result.find(f"counts do not add up: {said} for {right}")

    def _judge(
        self, record: Record, status: str, attr: str | None, said: dict[str, Any] | None
    ) -> None:
        self.result.statuses[status] += 1
        if not record.clear:
            self._believe(record, status)
            return
        faults = record.faults(self._integration_id)
        if faults:
            self._judge_refusal(record, faults, status, attr, said)
            return
        call_id = record.call_id
        assert call_id
        right = self._right(call_id, record)
        if status not in right:
            self.result.find(f"{status} instead of {' or '.join(right)}: {_short(record.raw)}")
        if status == "accepted":
            self._raw[call_id] = record.raw
            self.result.stored[call_id] = record.fact()

    def _believe(self, record: Record, status: str) -> None:
        if status == "accepted" and record.call_id:
            self._raw[record.call_id] = record.raw
            self.result.stored[record.call_id] = record.fact()

    def _right(self, call_id: str, record: Record) -> tuple[str, ...]:
        if call_id not in self._raw:
            return ("accepted",)
        if self._raw[call_id] == record.raw:
            return ("duplicate",)
        if self.result.stored[call_id] != record.fact():
            return ("conflict",)
        return ("duplicate", "conflict")

    def _judge_refusal(
        self,
        record: Record,
        faults: set[str | None],
        status: str,
        attr: str | None,
        said: dict[str, Any] | None,
    ) -> None:
        if status != "rejected":
            self.result.find(f"{status}, though {faults} can't be counted: {_short(record.raw)}")
            return
        if attr not in faults:
            self.result.find(f"{attr} is blamed for {faults}: {_short(record.raw)}")
        if said is None:
            return
        if not (said["code"] and said["detail"]):
            self.result.find(f"refused without a reason: {said}")
        if record.call_id and said["call_id"] != record.call_id:
            self.result.find(f"{record.call_id} is called {said['call_id']!r}")


def stored_findings(connection: "psycopg.Connection[Row]", delivery: HostileDelivery) -> list[str]:
    """Where the tenant's rows are not those that must be stored, a sentence each."""
    found = connection.execute(
        "SELECT call_id, tokens_in, tokens_out FROM cus_llm_usage WHERE tenant_id = %s",
        [delivery.tenant_id],
    )
    rows = {str(call_id): tuple(fact) for call_id, *fact in found}
    right = delivery.result.stored
    return [
        f"{call_id} is stored as {rows.get(call_id)}, and was sent as {right.get(call_id)}"
        for call_id in sorted(rows.keys() | right.keys())
        if rows.get(call_id) != right.get(call_id)
    ]


def _batches(records: Iterable[Record], most: int) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        if batch and (len(batch) == most or size + len(record.raw) > _FILL_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.raw) + 2
    if batch:
        yield batch


def _short(raw: bytes) -> str:
    text = repr(raw)
    return text if len(text) < 500 else f"{text[:300]} … {text[-150:]}"


@dataclass(frozen=True)
class Body:
    """A whole request that is hostile, and the statuses that are right for it."""

    name: str
    body: bytes
    right: tuple[int, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = BATCH


def _batch_of(call_id: str, size: int = 0) -> bytes:
    record = {"call_id": call_id, "model": "gpt-4o", "tokens_in": 1, "tokens_out": 1}
    body = json.dumps({"records": [record]}).encode()
    return body + b" " * max(0, size - len(body))


def hostile_bodies(name: str) -> list[Body]:
    """Requests that are hostile as a whole; call ids begin with `name`."""
    good = _batch_of(f"{name}-good")
    deep = b"[" * 100_000 + b"]" * 100_000
    return [
        Body("4 MiB to the byte", _batch_of(f"{name}-full", MAX_BYTES), (200,)),
        Body("4 MiB and one byte", _batch_of(f"{name}-over", MAX_BYTES + 1), (413,)),
        Body("5 MiB", _batch_of(f"{name}-more", 5 * 1024 * 1024), (413,)),
        Body("one record of 5 MiB", b'{"call_id": "' + b"x" * 5 * 1024 * 1024, (413,), path=SINGLE),
        Body("nothing", b"", (400,)),
        Body("no JSON", b"nonsense", (400,)),
        Body("half a batch", good[: len(good) // 2], (400,)),
        Body("two batches", good + good, (400,)),
        Body("a NUL byte", good.replace(b"gpt-4o", b"gpt\x00-4o"), (400,)),
        Body("no UTF-8 at all", b"\xff\xfe\xfa" * 100, (400,)),
        Body("UTF-16", good.decode().encode("utf-16"), (400,)),
        Body("a byte order mark", b"\xef\xbb\xbf" + good, (200, 400)),
        Body("depth 100,000", deep, (400,)),
        Body("records of depth 100,000", b'{"records": ' + deep + b"}", (200, 400)),
        Body("an unclosed depth", b'{"records": [' + b"[" * 100_000, (400,)),
        Body("a list", b"[]", (400,)),
        Body("a number", b"1e400", (400,)),
        Body("no records", b'{"records": []}', (400,)),
        Body("records as an object", b'{"records": {"0": {}}}', (400,)),
        Body("null records", b'{"records": null}', (400,)),
        Body("1,001 records", b'{"records": [' + b"{}," * 1000 + b"{}]}", (400,)),
        Body("1,000 empty records", b'{"records": [' + b"{}," * 999 + b"{}]}", (200,)),
        Body("records twice", b'{"records": [1], "records": [2]}', (200, 400)),
        Body("a form", b"records=1", (415,), {"Content-Type": "application/x-www-form-urlencoded"}),
        Body("no type", good, (200, 415), {"Content-Type": ""}),
        Body("a wrong charset", good, (200, 400, 415), _typed("application/json; charset=utf-7")),
        Body("a bad key", good, (401, 403), {"X-CUS-Integration-Key": "a:b:c"}),
        Body("a key of 8,000 colons", good, (401, 403), {"X-CUS-Integration-Key": ":" * 8_000}),
        Body("a key that is no text", good, (401, 403), {"X-CUS-Integration-Key": "\xff\xfe:\xfd"}),
    ]


def gzip_bodies(name: str) -> list[Body]:
    """Compressed requests: what inflates to more than a body may be is 413, whatever its size."""
    good = _batch_of(f"{name}-gzip")
    packed = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(_batch_of(f"{name}-bomb", 200 * 1024 * 1024))
    nested = gzip.compress(gzip.compress(good))
    trailing = gzip.compress(_batch_of(f"{name}-trailing")) + b"garbage"
    return [
        Body("gzip", gzip.compress(good), (200,), packed),
        Body("gzip, 4 MiB inflated", _packed(f"{name}-gzip-full", MAX_BYTES), (200,), packed),
        Body(
            "gzip, 4 MiB + 1 inflated", _packed(f"{name}-gzip-over", MAX_BYTES + 1), (413,), packed
        ),
        Body("gzip bomb of 200 MiB", bomb, (413,), packed),
        Body("a gzip bomb for one record", bomb, (413,), packed, SINGLE),
        Body("gzip cut short", gzip.compress(good)[:-12], (400,), packed),
        Body("gzip that is none", good, (400,), packed),
        Body("gzip of nothing", gzip.compress(b""), (400,), packed),
        Body("gzip within gzip", nested, (400,), packed),
        Body("gzip with something behind", trailing, (200, 400), packed),
        Body("gzip of no bytes", b"", (400,), packed),
        Body("an unknown encoding", good, (400, 415), {"Content-Encoding": "br"}),
    ]


def _packed(call_id: str, size: int) -> bytes:
    return gzip.compress(_batch_of(call_id, size))


def _typed(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type}


def deliver_body(door: Door, body: Body) -> str | None:
    """What was wrong with the answer, in a sentence; None if it was right."""
    answer = door.post(body.path, body.body, body.headers)
    # A server that refuses a body need not read the rest of it.
    door.close()
    if not answer.is_json:
        return f"{body.name}: no JSON: {answer}"
    if answer.status not in body.right:
        return f"{body.name}: {answer} instead of {body.right}"
    if answer.status != 200 and not answer.json()["errors"][0]["detail"]:
        return f"{body.name}: no reason: {answer}"
    return None
