"""Answers whose usage is told late, twice, by others, first, next month: what each must come to.

What is sent depends on the seed alone, and so does what must be stored in the end. Costs are the
provider's prices, worked out here.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aos_sdk.cus_wire import settlement_call_id

Report = dict[str, Any]
# Of gpt-4o, in microcents: $2.50 and $10 for a million tokens.
_PER_TOKEN_IN, _PER_TOKEN_OUT = 250, 1_000
RESERVED = {"cents": 2, "microcents": 1_500_000, "tokens": 1_800}


@dataclass
class LateAnswer:
    """An answer of a provider, the calls that name it, and what is reported in each month."""

    number: int
    kind: str
    response_id: str
    call_ids: list[str]
    lease_id: str | None
    at: str
    # Reports of the month of the calls, and of the month after.
    first: list[Report] = field(default_factory=list)
    later: list[Report] = field(default_factory=list)

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in and out."""
        return 100 + self.number * 7919 % 5_000, 1 + self.number * 104_729 % 900

    @property
    def is_told(self) -> bool:
        """Whether anybody says what the answer used."""
        return self.kind != "never told"

    @property
    def microcents(self) -> int:
        """What the answer costs as far as anybody says."""
        tokens_in, tokens_out = self.tokens
        return (tokens_in * _PER_TOKEN_IN + tokens_out * _PER_TOKEN_OUT) * self.is_told

    @property
    def reported_ids(self) -> set[str]:
        """The call ids of all its reports."""
        return {report["call_id"] for report in (*self.first, *self.later)}

    def call(self, place: int = 0) -> Report:
        """The report of one of the calls, whose usage is not known."""
        return self._own(place) | {"tokens_in": 0, "tokens_out": 0, "usage_known": False}

    def own(self) -> Report:
        """The first call's report of known usage under its own id."""
        return self._own(0) | self._usage()

    def by_answer(self) -> Report:
        """The report of another process, which has the answer alone."""
        return self._report(settlement_call_id(self.response_id)) | self._usage()

    def unfinished(self) -> Report:
        """The report of such a process while the answer is still being made."""
        unknown = {"tokens_in": 0, "tokens_out": 0, "usage_known": False}
        return self._report(settlement_call_id(self.response_id)) | unknown

    def _own(self, place: int) -> Report:
        leased = {"lease_id": self.lease_id, "reserved": RESERVED} if self.lease_id else {}
        return self._report(self.call_ids[place]) | leased

    def _report(self, call_id: str) -> Report:
        return {
            "call_id": call_id,
            "response_id": self.response_id,
            "model": "gpt-4o",
            "operation": "responses",
            "timestamp": self.at,
        }

    def _usage(self) -> Report:
        return dict(zip(("tokens_in", "tokens_out"), self.tokens, strict=True))


def _told_at_once(answer: LateAnswer) -> None:
    answer.first = [answer.call(), answer.by_answer(), answer.call(), answer.by_answer()]
    answer.later = [answer.by_answer(), answer.call()]


def _told_next_month(answer: LateAnswer) -> None:
    answer.first = [answer.call(), answer.call()]
    answer.later = [answer.by_answer(), answer.by_answer(), answer.call()]


def _answer_first(answer: LateAnswer) -> None:
    answer.first = [answer.by_answer(), answer.by_answer()]
    answer.later = [answer.call(), answer.by_answer(), answer.call()]


def _answer_first_then_itself(answer: LateAnswer) -> None:
    answer.first = [answer.by_answer(), answer.call(), answer.by_answer()]
    answer.later = [answer.own(), answer.by_answer(), answer.own()]


def _told_by_itself(answer: LateAnswer) -> None:
    answer.first = [answer.call(), answer.own(), answer.call(), answer.own()]
    answer.later = [answer.own()]


def _told_twice(answer: LateAnswer) -> None:
    answer.first = [answer.call()]
    answer.later = [answer.own(), answer.by_answer(), answer.own(), answer.by_answer()]


def _named_by_two(answer: LateAnswer) -> None:
    answer.call_ids.append(f"{answer.call_ids[0]}-again")
    answer.first = [answer.call(0), answer.call(1), answer.call(0)]
    answer.later = [answer.by_answer(), answer.call(1), answer.by_answer()]


def _named_by_two_at_once(answer: LateAnswer) -> None:
    answer.call_ids.append(f"{answer.call_ids[0]}-again")
    answer.first = [answer.call(0), answer.call(1), answer.by_answer(), answer.by_answer()]
    answer.later = [answer.call(0), answer.call(1)]


def _unfinished_at_first(answer: LateAnswer) -> None:
    answer.first = [answer.unfinished(), answer.call(), answer.unfinished()]
    answer.later = [answer.by_answer(), answer.by_answer()]


def _never_told(answer: LateAnswer) -> None:
    answer.first = [answer.call(), answer.call()]
    answer.later = [answer.call()]


_KINDS = {
    "told at once": _told_at_once,
    "told next month": _told_next_month,
    "answer first": _answer_first,
    "answer first, then itself": _answer_first_then_itself,
    "told by itself": _told_by_itself,
    "told twice": _told_twice,
    "named by two": _named_by_two,
    "named by two at once": _named_by_two_at_once,
    "unfinished at first": _unfinished_at_first,
    "never told": _never_told,
}


def late_answers(count: int, *, seed: int, lease_id: str) -> list[LateAnswer]:
    """So many answers of all kinds. A third of the calls is leased, a third held for."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    answers = []
    for number in range(count):
        kind = [*_KINDS][number % len(_KINDS)]
        name = f"{seed}-{number}"
        leased = lease_id if number % 3 == 1 else None
        at = (start + timedelta(milliseconds=number)).isoformat()
        answer = LateAnswer(number, kind, f"resp-{name}", [f"late-{name}"], leased, at)
        _KINDS[kind](answer)
        answers.append(answer)
    return answers


def shuffled_batches(
    reports: list[Report], senders: int, rng: random.Random
) -> list[list[list[Report]]]:
    """The reports in a random order: for each sender its batches, of 1 to 8 reports."""
    rng.shuffle(reports)
    shares = [reports[number::senders] for number in range(senders)]
    batches: list[list[list[Report]]] = []
    for share in shares:
        mine = []
        while share:
            size = rng.randint(1, 8)
            mine.append(share[:size])
            share = share[size:]
        batches.append(mine)
    return batches
