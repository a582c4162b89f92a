"""Decide checks together that come at the same time, for one integration, to one process.

While one group is under the integration's lock, later requests queue. The first request in the
queue then leads the next group, with the requests behind it in their order. So a lock, a reading
and a durable commit serve several checks; otherwise each flush of the disk would serve one check.
"""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

_A = TypeVar("_A")
_F = TypeVar("_F")


class QueueTimeout(Exception):
    """The queue did not reach this request before `turn_by`; report contention."""


class GroupTimeout(Exception):
    """The request that leads this request's group was not decided before `end_by`."""


class GroupFailed(Exception):
    """The request that leads this request's group failed; `__cause__` is its error."""


class _Place(Generic[_A, _F]):
    """One caller's checks in the queue."""

    def __init__(self, asked: Sequence[_A]) -> None:
        self.asked = asked
        # Set when this place leads a group: the places that it decides for, itself first.
        self.group: list[_Place[_A, _F]] | None = None
        self.found: Sequence[_F] | None = None
        self.error: Exception | None = None
        self.woken = threading.Event()


class JoinedWork(Generic[_A, _F]):
    """Runs work by key, one group at a time; a group has at most `most` items."""

    def __init__(self, most: int) -> None:
        self._most = most
        # A key is present while a group of that key is decided; its line holds waiting requests.
        self._lines: dict[Hashable, list[_Place[_A, _F]]] = {}
        self._changing = threading.Lock()

    def run(
        self,
        key: Hashable,
        asked: Sequence[_A],
        work: Callable[[Sequence[_A]], Sequence[_F]],
        *,
        turn_by: float,
        end_by: float,
    ) -> Sequence[_F]:
        """Run `work` on `asked`, alone or within a larger group; return one answer for each item.

        Times are of the monotonic clock: by `turn_by` a group that includes these items must have
        begun; by `end_by` the group must have answers. Raises QueueTimeout, GroupTimeout or
        GroupFailed. If these items lead the group, the errors of `work` pass through.
        """
        place = self._stand(key, asked)
        if place.group is None:
            self._wait(key, place, turn_by, end_by)
        if place.group is not None:
            return self._lead(key, place, place.group, work)
        if place.found is None:
            raise GroupFailed from place.error
        return place.found

    def _stand(self, key: Hashable, asked: Sequence[_A]) -> _Place[_A, _F]:
        place: _Place[_A, _F] = _Place(asked)
        with self._changing:
            line = self._lines.get(key)
            if line is None:
                self._lines[key] = []
                place.group = [place]
            else:
                line.append(place)
        return place

    def _wait(self, key: Hashable, place: _Place[_A, _F], turn_by: float, end_by: float) -> None:
        if place.woken.wait(max(turn_by - time.monotonic(), 0)):
            return
        with self._changing:
            line = self._lines.get(key, [])
            if place in line:
                line.remove(place)
                raise QueueTimeout
        # Not in the queue any more: a group includes this place, or this place leads a group.
        if place.group is None and not place.woken.wait(max(end_by - time.monotonic(), 0)):
            raise GroupTimeout

    def _lead(
        self,
        key: Hashable,
        place: _Place[_A, _F],
        group: "list[_Place[_A, _F]]",
        work: Callable[[Sequence[_A]], Sequence[_F]],
    ) -> Sequence[_F]:
        try:
            found = list(work([item for member in group for item in member.asked]))
        except Exception as error:
            for member in group:
                member.error = error
            raise
        else:
            for member in group:
                member.found, found = found[: len(member.asked)], found[len(member.asked) :]
            assert place.found is not None
            return place.found
        finally:
            self._pass_on(key)
            for member in group[1:]:
                member.woken.set()

    def _pass_on(self, key: Hashable) -> None:
        """Start the next group: the request that waits longest, and those behind it that fit."""
        with self._changing:
            line = self._lines[key]
            if not line:
                del self._lines[key]
                return
            size = taken = 0
            for member in line:
                size += len(member.asked)
                if taken and size > self._most:
                    break
                taken += 1
            first = line[0]
            first.group, self._lines[key] = line[:taken], line[taken:]
        first.woken.set()
