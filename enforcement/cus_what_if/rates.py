"""What a replay has admitted, as the integration's own rates count it. Pure."""

from collections import deque
from datetime import datetime, timedelta
from typing import Final

from enforcement.cus_what_if.windows import CalendarCount, SlidingCount
from integrations.cus_lifecycle.limits import Admissions, Window

_MINUTE: Final = timedelta(seconds=60)
_ALL: Final = ""
# More seconds than a minute touches.
_SECONDS: Final = 100


class Rates:
    """Calls and tokens of the last minute, and calls of the day (UTC), by when they were admitted."""

    def __init__(self, began: datetime, admitted_today: int) -> None:
        self._calls: deque[datetime] = deque()
        self._tokens = SlidingCount(most_values=_SECONDS)
        self._today = CalendarCount(Window.DAY, began, most_values=1)
        self._today.add(_ALL, admitted_today)

    def admit(self, at: datetime, tokens: int) -> None:
        """A call begins, and `tokens` are held for it."""
        self._calls.append(at)
        self._tokens.admit(_ALL, at, tokens)
        self._today.revise(_ALL, at, at, 1)

    def land(self, at: datetime, admitted_at: datetime, held: int, tokens: int) -> None:
        """A call's record comes: the tokens that it used, in place of those held for it."""
        self._tokens.land(_ALL, at, admitted_at, held, tokens)

    def admissions(self, now: datetime) -> Admissions:
        """What checks at this moment count."""
        calls = self._calls
        while calls and calls[0] <= now - _MINUTE:
            calls.popleft()
        return Admissions(
            admitted=len(calls),
            admitted_tokens=sum(self._tokens.taken(_ALL, now)),
            admitted_today=self._today.taken(_ALL, now)[0],
        )
