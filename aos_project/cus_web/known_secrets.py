"""Which sessions and tokens are people's, as this process has seen: only others are strangers."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from aos_project.cus_web.scopes import Request
from integrations.cus_web.people import Secret

# Sessions and tokens of all tenants' people that are in use within an hour. Those that a process
# forgets are strangers' for one request.
_MOST = 10_000
# Pages that authenticate nobody, such as static files, can't refuse an ended session.
_SECONDS = 3_600.0
# Of this process alone: who reads its memory can't try secrets against the digests.
_KEY = secrets.token_bytes(32)
Digests = Mapping[Secret, str]


class KnownSecrets:
    """Digests of the secrets that Django has found to be people's, the last seen at the end.

    A secret is known for an hour from when it was last seen. Above `most`, the one that was not
    seen for longest goes. Threads may call all methods; times are of the monotonic clock.
    """

    def __init__(self, most: int = _MOST, seconds: float = _SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._known_until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def known_of(self, digests: Digests, now: float) -> str | None:
        """The digest of a request that is known, or None if a stranger may have sent it."""
        known_until = self._known_until
        return next((one for one in digests.values() if known_until.get(one, now) > now), None)

    def learn(self, digests: Digests, environ: Mapping[str, Any], now: float) -> None:
        """Remember and forget a request's secrets, as Django has noted in its environment.

        Django notes nothing of a secret that it did not look at.
        """
        for secret, digest in digests.items():
            is_a_persons = environ.get(secret)
            if is_a_persons:
                self._remember(digest, now)
            elif is_a_persons is not None:
                self._forget(digest)

    def _remember(self, digest: str, now: float) -> None:
        with self._lock:
            self._known_until[digest] = now + self._seconds
            self._known_until.move_to_end(digest)
            if len(self._known_until) > self._most:
                self._known_until.popitem(last=False)

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._known_until.pop(digest, None)


def digests_of(request: Request) -> Digests:
    """Digests of the request's session and token, of those that it has."""
    given = {
        Secret.SESSION: _session_in(request.named.get("cookie", "")),
        Secret.TOKEN: "".join(request.named.get("authorization", "").rsplit(maxsplit=1)[-1:]),
    }
    return {secret: _digest(text) for secret, text in given.items() if text}


def _session_in(cookies: str) -> str:
    """The session in a Cookie header: of several the last one, as Django reads it.

    Other cookies do not count: strangers and browsers change them at will.
    """
    name = f";{settings.SESSION_COOKIE_NAME}="
    _, found, rest = f";{cookies}".replace("; ", ";").rpartition(name)
    return rest.partition(";")[0].strip() if found else ""


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16, key=_KEY).hexdigest()
