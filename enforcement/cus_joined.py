"""Checks of one integration that are asked at the same time in one process: decided together.

While one is under the integration's lock, those that come after it line up; the first of them
then takes all that wait along, in their order. So a lock, a reading and a durable commit serve
several checks, and a busy integration is not held to one check a flush of the disk.
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
    """The request that leads this one's group was not decided before `end_by`."""


class GroupFailed(Exception):
    """The request that leads this one's group failed; `__cause__` is its error."""


class _Place(Generic[_A, _F]):
    """One caller's checks in the line."""

    def __init__(self, asked: Sequence[_A]) -> None:
        self.asked = asked
        # Those that this one decides for, itself first, once it is its turn.
        self.group: list[_Place[_A, _F]] | None = None
        self.found: Sequence[_F] | None = None
        self.error: Exception | None = None
        self.woken = threading.Event()


class JoinedWork(Generic[_A, _F]):
    """Runs work by key, one group at a time; a group asks no more than `most` things."""

    def __init__(self, most: int) -> None:
        self._most = most
        # A key is here while a group of it is decided; the requests in its line wait.
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
        """What `work` finds, an answer to each thing asked, perhaps as part of a larger group.

        Times are of the monotonic clock: by `turn_by` these requests, or a group that includes
        them, must have begun; by `end_by` there must be an answer. Raises QueueTimeout,
        GroupTimeout or GroupFailed; what our own `work` raises comes as it is.
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
        # Somebody has taken us along, or it is our turn at this very moment.
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
            found = list(work([one for member in group for one in member.asked]))
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
        """Start the next group: the request that waits longest, and those behind it that fit in."""
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
