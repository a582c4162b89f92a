"""Limit the requests of one SDK key, so that a program's loop does not stop other programs."""

import threading
import time

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from integrations.cus_keys.verifier import SdkPrincipal

_WINDOW_SECONDS = 10
_MAX_KEYS = 10_000


class SdkKeyThrottle(BaseThrottle):
    """At most `CUS_SDK_REQUESTS_PER_SECOND` of one key, over ten seconds; 0 means unlimited.

    Each process counts by itself: a shared counter would cost every request a round trip, and the
    limit protects the process. The answer to a refused request is 429 with `Retry-After`.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request; return whether it is within the limit."""
        most = int(settings.CUS_SDK_REQUESTS_PER_SECOND * _WINDOW_SECONDS)
        whom = self.whom(request)
        if not most or whom is None:
            return True
        return _count(whom, int(time.monotonic() / _WINDOW_SECONDS)) <= most

    def whom(self, request: Request) -> str | None:
        """The key under which requests are counted together; None: not counted."""
        principal: object = request.user
        return str(principal.key_id) if isinstance(principal, SdkPrincipal) else None

    def wait(self) -> float:
        """Seconds until the next window."""
        return _WINDOW_SECONDS - time.monotonic() % _WINDOW_SECONDS


_counts: dict[str, tuple[int, int]] = {}
_counting = threading.Lock()


def _count(key: str, window: int) -> int:
    with _counting:
        if len(_counts) >= _MAX_KEYS:
            _counts.clear()
        counted_in, count = _counts.get(key, (window, 0))
        count = count + 1 if counted_in == window else 1
        _counts[key] = window, count
        return count
