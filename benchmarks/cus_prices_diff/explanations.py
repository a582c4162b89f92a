"""Why a price of ours differs from a collection's: checked in as data, `explained.json`."""

import json
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from benchmarks.cus_prices_diff.points import Difference


class Explanation(NamedTuple):
    """Covers prices by patterns, as a shell has them; a price needs to fit all of them."""

    because: str
    models: tuple[str, ...]
    source: str = "*"
    tier: str = "*"
    kind: str = "*"

    def covers(self, difference: Difference) -> bool:
        """Whether this is why the price differs."""
        point = difference.stated.point
        return (
            any(fnmatchcase(point.model, pattern) for pattern in self.models)
            and fnmatchcase(difference.stated.source, self.source)
            and fnmatchcase(point.tier, self.tier)
            and fnmatchcase(point.kind, self.kind)
        )


def _load() -> list[Explanation]:
    text = Path(__file__).with_name("explained.json").read_text(encoding="utf-8")
    return [Explanation(**entry | {"models": tuple(entry["models"])}) for entry in json.loads(text)]


EXPLANATIONS = _load()


def explanation_of(difference: Difference) -> str | None:
    """Why a price differs; None if no explanation covers it."""
    return next((one.because for one in EXPLANATIONS if one.covers(difference)), None)


def unused(found: Iterable[Difference]) -> Iterator[str]:
    """Explanations that cover nothing any more: to be removed."""
    differing = list(found)
    for one in EXPLANATIONS:
        if not any(one.covers(difference) for difference in differing):
            yield one.because
