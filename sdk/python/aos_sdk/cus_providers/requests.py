"""What requests to providers cost, by the ends of their paths.

A request is captured (a call with a record of its own), counted (it costs money, and nothing that
the SDK can read says how much: it counts as bypassed), or free. Requests that start work at a
provider are POSTs; others read or delete what is there.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple


class CusCost(Enum):
    """How the SDK accounts for a request."""

    CAPTURED = "captured"
    COUNTED = "counted"
    FREE = "free"


class CusRequests(NamedTuple):
    """POST requests of one kind, and why they are captured, counted or free.

    `path` is the end of their paths; `{}` in it is any one segment, and `/**` at its end is
    anything below.
    """

    path: str
    cost: CusCost
    why: str


def requests_of(cost: CusCost, why: str, *paths: str) -> tuple[CusRequests, ...]:
    """The requests with these paths, which cost the same for the same reason."""
    return tuple(CusRequests(path, cost, why) for path in paths)


_ANY: Final = "{}"
_BELOW: Final = "/**"


class CusRequestTable:
    """Finds what a request costs. Of several paths that fit, the most exact one counts."""

    def __init__(self, captured: Iterable[str], kinds: Iterable[CusRequests]) -> None:
        """`captured` are ends of paths that are captured, beside those of `kinds`."""
        self._captured = tuple(captured)
        self._ends: dict[str, list[tuple[list[str], CusCost]]] = {}
        self._below: list[tuple[str, CusCost]] = []
        for path in self._captured:
            self._add(path, CusCost.CAPTURED)
        for kind in kinds:
            self._add(kind.path, kind.cost)

    def _add(self, path: str, cost: CusCost) -> None:
        if path.endswith(_BELOW):
            self._below.append((path.removesuffix("**"), cost))
        elif path.startswith("/"):
            segments = path[1:].split("/")
            self._ends.setdefault(segments[-1], []).append((segments, cost))

    def find(self, path: str) -> CusCost | None:
        """What a POST to this path costs; None for a path that the table doesn't have."""
        asked = path.split("/")
        if (cost := self._fitting(asked[-1], asked)) is not None:
            return cost
        if path.endswith(self._captured):
            return CusCost.CAPTURED
        if (cost := self._fitting(_ANY, asked)) is not None:
            return cost
        return next((cost for folder, cost in self._below if folder in path), None)

    def _fitting(self, last: str, asked: list[str]) -> CusCost | None:
        fitting = [
            (len(segments), segments.count(_ANY), cost)
            for segments, cost in self._ends.get(last, ())
            if _fits(segments, asked)
        ]
        if not fitting:
            return None
        return max(fitting, key=lambda found: (found[0], -found[1]))[2]


def _fits(segments: list[str], asked: list[str]) -> bool:
    end = asked[-len(segments) :]
    return len(end) == len(segments) and all(
        own in (_ANY, said) for own, said in zip(segments, end, strict=True)
    )
