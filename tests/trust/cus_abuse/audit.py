"""Whether each admission of a race was within the limit, from what callers saw and the log says.

Callers know when they sent a request and when they were told its outcome. What was told before
a check was sent must be in what that check read; what was under way meanwhile may be in it. The
log holds what each check read (ruling F9), so ruling F5c's invariant can be worked out again for
every admission, however the requests of a race were mixed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_ADMITTED = ("allowed", "warned")
STORED = 201


@dataclass(frozen=True)
class Asked:
    """One check as its caller saw it; times of one monotonic clock."""

    call_id: str
    sent: float
    told: float
    result: str
    # What the call may cost: never less than a cent (ruling F3a).
    estimate_cents: int

    @property
    def admitted(self) -> bool:
        """Whether the call was let in, with evidence, and so is held for."""
        return self.result in _ADMITTED


@dataclass(frozen=True)
class Reported:
    """One report as its sender saw it. `counted_cents`: the greater of both costs (ruling M3a)."""

    call_id: str
    sent: float
    told: float
    status: int
    counted_cents: int


@dataclass
class Race:
    """All that one integration's callers saw of a race, and what stood before it began."""

    limit_cents: int
    used_cents: int
    held_cents: int
    asked: list[Asked] = field(default_factory=list)
    reported: list[Reported] = field(default_factory=list)

    def used_after(self) -> int:
        """What must be counted when all is over: every report that was accepted."""
        return self.used_cents + sum(one.counted_cents for one in self._stored().values())

    def held_after(self) -> int:
        """What must still be held: calls that were let in and never reported."""
        stored = self._stored()
        waiting = {one.call_id for one in self.asked if one.admitted} - set(stored)
        return self.held_cents + sum(self._estimate(call, before=None) for call in waiting)

    def least_taken(self, call_id: str, sent: float, told: float) -> int:
        """The least that a check of `call_id`, under way from `sent` to `told`, had to find taken."""
        stored = self._stored()
        calls = {one.call_id for one in self.asked} | set(stored)
        others = calls - {call_id}
        taken = sum(self._least_of(call, stored.get(call), sent, told) for call in others)
        return self.used_cents + self.held_cents + taken

    def _least_of(self, call: str, report: Reported | None, sent: float, told: float) -> int:
        held = self._estimate(call, before=sent)
        if report is None or report.sent >= told:
            return held
        # It landed before the check was sent, or at some moment while that was under way.
        return report.counted_cents if report.told <= sent else min(held, report.counted_cents)

    def _estimate(self, call: str, *, before: float | None) -> int:
        """What is held for a call by the admissions that were told before a moment, or at all."""
        known = [
            one.estimate_cents
            for one in self.asked
            if one.call_id == call and one.admitted and (before is None or one.told <= before)
        ]
        return max(known, default=0)

    def _stored(self) -> dict[str, Reported]:
        return {one.call_id: one for one in self.reported if one.status == STORED}


@dataclass(frozen=True)
class Logged:
    """What the decision log says of an admission: the call, and the facts that it rests on."""

    call_id: str
    facts: Mapping[str, Any]

    @property
    def taken_cents(self) -> int:
        """Used, held and leased, as the check read them."""
        usage = self.facts["usage"]
        # Amounts are cents, microcents and tokens, in this order.
        return sum(int(usage.get(name, [0])[0]) for name in ("used", "held", "leased"))

    @property
    def estimate_cents(self) -> int:
        return int(self.facts["estimate"][0])

    @property
    def limit_cents(self) -> int:
        return int(self.facts["authority"]["budget_limit_cents"])


def admission_findings(race: Race, log: Iterable[Logged]) -> list[str]:
    """What is wrong with the admissions of a race, a sentence each."""
    entries = list(log)
    findings = [found for entry in entries for found in _entry_findings(race, entry)]
    admitted = {one.call_id for one in race.asked if one.admitted}
    if missing := admitted - {entry.call_id for entry in entries}:
        findings.append(f"{len(missing)} admissions are not in the log: {sorted(missing)[:3]}")
    return findings


def _entry_findings(race: Race, entry: Logged) -> list[str]:
    if entry.facts["usage"] is None:
        return [f"{entry.call_id} was let in without evidence"]
    findings = []
    taken, estimate = entry.taken_cents, entry.estimate_cents
    if entry.limit_cents != race.limit_cents:
        findings.append(f"{entry.call_id}: limit {entry.limit_cents}, not {race.limit_cents}")
    if not entry.facts.get("admitted_before") and taken + estimate > race.limit_cents:
        findings.append(f"{entry.call_id}: {taken} + {estimate} > {race.limit_cents}")
    least = _least(race, entry.call_id)
    if taken < least:
        findings.append(f"{entry.call_id} was let in seeing {taken} taken, where {least} were")
    return findings


def _least(race: Race, call_id: str) -> int:
    """Of several checks of one call the log does not say which: so the least of them."""
    checks: Sequence[Asked] = [one for one in race.asked if one.call_id == call_id]
    least = [race.least_taken(call_id, one.sent, one.told) for one in checks]
    return min(least, default=0)
