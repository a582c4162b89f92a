"""Figures that were compared, and where they differ."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from telemetry.cus_analytics.models import CusReconcileDifference

Kind = CusReconcileDifference.Kind
# The sums of several figures, by what they are of.
Sums = Mapping[uuid.UUID, Sequence[int]]


@dataclass(frozen=True)
class Difference:
    """One figure of an integration that is not what it is compared with.

    `starts_at` is the hour, day or month; None stands for all time.
    """

    kind: Kind
    integration_id: uuid.UUID
    starts_at: datetime | None
    figure: str
    stored: int
    expected: int


def read_sums(rows: Iterable[Sequence[object]]) -> Sums:
    """Rows of an integration's id and its sums."""
    return {
        uuid.UUID(str(integration_id)): [int(str(value or 0)) for value in values]
        for integration_id, *values in rows
    }


def differences_of(
    kind: Kind,
    starts_at: datetime | None,
    figures: Sequence[str],
    *,
    stored: Sums,
    expected: Sums,
) -> Iterator[Difference]:
    """Each figure that differs; an integration that one side lacks has zeros there."""
    nothing = [0] * len(figures)
    for integration_id in sorted({*stored, *expected}):
        both = zip(
            figures,
            stored.get(integration_id, nothing),
            expected.get(integration_id, nothing),
            strict=True,
        )
        for figure, ours, theirs in both:
            if ours != theirs:
                yield Difference(kind, integration_id, starts_at, figure, ours, theirs)
