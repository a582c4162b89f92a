"""Writers who report one call id at the same moment (rulings E1, E2)."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

from tests.trust.cus_door import Answer, Door
from tests.trust.cus_real_product import RealProduct

_BATCH = "/api/v1/cus/telemetry/llm-usage/batch"
_SINGLE = "/api/v1/cus/telemetry/llm-usage"


@dataclass
class RaceResult:
    """How many races there were, and what must not have been."""

    races: int = 0
    findings: list[str] = field(default_factory=list)


def race_tenants(product: RealProduct, keys: Sequence[str], name: str) -> RaceResult:
    """One report under one call id from each key, all at once: each is stored."""
    body = _body(_record(name, 1))
    doors = [product.door(number, key) for number, key in enumerate(keys)]
    with _at_once(doors) as post:
        answers = post([(_SINGLE, body)] * len(doors))
    result = RaceResult(races=1)
    if {answer.status for answer in answers} != {201}:
        result.findings.append(f"not all were accepted: {sorted(map(str, answers))}")
    with product.connect() as connection:
        stored = connection.execute(
            "SELECT count(*), count(DISTINCT tenant_id) FROM cus_llm_usage WHERE call_id = %s",
            [name],
        ).fetchone()
    if stored != (len(keys), len(keys)):
        result.findings.append(f"rows and tenants: {stored}, of {len(keys)}")
    return result


def race_contradictions(
    product: RealProduct,
    key: str,
    name: str,
    *,
    races: int,
    batch: int = 1,
    say: Callable[[int], None] = lambda _done: None,
) -> RaceResult:
    """Two writers with one call id and another content, `races` times.

    Each time one is accepted, the other told of a conflict, and what was accepted is stored.
    `batch` calls go in one request, in opposite orders, which must not deadlock.
    """
    result = RaceResult()
    winners: dict[str, int] = {}
    doors = [product.door(number, key) for number in range(2)]
    with _at_once(doors) as post:
        while result.races < races:
            names = [f"{name}-{result.races + number}" for number in range(batch)]
            answers = post(_contradictory(names))
            for call_id, outcomes in _outcomes(names, answers, result).items():
                if sorted(outcomes) != ["accepted", "conflict"]:
                    result.findings.append(f"{call_id} was answered {outcomes}")
                winners[call_id] = outcomes.index("accepted") if "accepted" in outcomes else -1
            result.races += batch
            say(result.races)
    _compare(product, name, winners, result)
    return result


def _contradictory(names: list[str]) -> list[tuple[str, bytes]]:
    first = [_record(name, 100) for name in names]
    second = [_record(name, 101) for name in reversed(names)]
    if len(names) == 1:
        return [(_SINGLE, _body(first[0])), (_SINGLE, _body(second[0]))]
    return [(_BATCH, _body({"records": records})) for records in (first, second)]


def _outcomes(names: list[str], answers: list[Answer], result: RaceResult) -> dict[str, list[str]]:
    """By call id what each of the two was told."""
    told: dict[str, list[str]] = {name: [] for name in names}
    for answer, order in zip(answers, (names, names[::-1]), strict=True):
        if len(names) == 1:
            words = {201: "accepted", 409: "conflict"}
            told[names[0]].append(words.get(answer.status, str(answer)))
        elif answer.status != 200:
            result.findings.append(str(answer))
        else:
            statuses = {said["index"]: said["status"] for said in answer.json()["results"]}
            for index, name in enumerate(order):
                told[name].append(statuses.get(index, "accepted"))
    return told


def _compare(product: RealProduct, name: str, winners: dict[str, int], result: RaceResult) -> None:
    with product.connect() as connection:
        rows = connection.execute(
            "SELECT call_id, tokens_in - 100 FROM cus_llm_usage WHERE starts_with(call_id, %s)",
            [f"{name}-"],
        ).fetchall()
    if len(rows) != result.races:
        result.findings.append(f"{len(rows)} rows after {result.races} races")
    if dict(rows) != winners:
        result.findings.append("what is stored is not what was accepted")


@contextmanager
def _at_once(
    doors: Sequence[Door],
) -> Iterator[Callable[[list[tuple[str, bytes]]], list[Answer]]]:
    """Posts one request through each door, all at one moment."""
    start = Barrier(len(doors))

    def post(door: Door, request: tuple[str, bytes]) -> Answer:
        start.wait(30)
        return door.post(*request)

    with ThreadPoolExecutor(len(doors)) as pool:
        yield lambda requests: list(pool.map(post, doors, requests))
    for door in doors:
        door.close()


def _record(call_id: str, tokens_in: int) -> dict[str, Any]:
    return {
        "call_id": call_id,
        "model": "gpt-4o",
        "tokens_in": tokens_in,
        "tokens_out": 5,
        "timestamp": datetime.now(UTC).isoformat(),
    }


def _body(content: Any) -> bytes:
    return json.dumps(content).encode()
