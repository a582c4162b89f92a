"""Which sessions and tokens are people's, as this process has seen: only others are strangers."""

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from aos_project.cus_web.scopes import Request
from integrations.cus_web.verdicts import Secret

# Sessions and tokens of all tenants' people that are in use within an hour. Those that a process
# forgets are strangers' for one request.
_MOST = 10_000
# Pages that authenticate nobody, such as static files, can't refuse an ended session.
_SECONDS = 3_600.0
# Of this process alone: who reads its memory can't try secrets against the digests.
_KEY = secrets.token_bytes(32)
Digests = Mapping[Secret, str]


class Remembered:
    """Digests, each for an hour from when it was last added, the last added at the end.

    Above `most`, the one that was not added for longest goes. Threads may call all methods; times
    are of the monotonic clock.
    """

    def __init__(self, most: int = _MOST, seconds: float = _SECONDS) -> None:
        self._most = most
        self._seconds = seconds
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, digest: str, now: float) -> bool:
        """Whether the digest is remembered."""
        return self._until.get(digest, now) > now

    def add(self, digest: str, now: float) -> bool:
        """Remember the digest; return whether it was not remembered before."""
        with self._lock:
            is_new = not self.holds(digest, now)
            self._until[digest] = now + self._seconds
            self._until.move_to_end(digest)
            if len(self._until) > self._most:
                self._until.popitem(last=False)
            return is_new

    def drop(self, digest: str) -> None:
        """Forget the digest."""
        # Most often there is nothing to forget.
        if digest in self._until:
            with self._lock:
                self._until.pop(digest, None)


class KnownSecrets:
    """Digests of the sessions and tokens that Django has found to be people's."""

    def __init__(self, most: int = _MOST, seconds: float = _SECONDS) -> None:
        self._peoples = Remembered(most, seconds)

    def known_of(self, digests: Digests, now: float) -> str | None:
        """The digest of a request that is known, or None if a stranger may have sent it."""
        return next((one for one in digests.values() if self._peoples.holds(one, now)), None)

    def learn(self, digests: Digests, environ: Mapping[str, Any], now: float) -> None:
        """Remember and forget a request's secrets, as Django has noted in its environment.

        Django notes nothing of a secret that it did not look at.
        """
        for secret, digest in digests.items():
            accepted = environ.get(secret)
            if accepted:
                self._peoples.add(digest, now)
            elif accepted is not None:
                self._peoples.drop(digest)


def digests_of(request: Request) -> Digests:
    """Digests of the request's session and token, of those that it has."""
    given = {
        Secret.SESSION: _session_in(request.named.get("cookie", "")),
        Secret.TOKEN: "".join(request.named.get("authorization", "").rsplit(maxsplit=1)[-1:]),
    }
    return {secret: digest_of(text) for secret, text in given.items() if text}


def _session_in(cookies: str) -> str:
    """The session in a Cookie header: of several the last one, as Django reads it.

    Other cookies do not count: strangers and browsers change them at will.
    """
    name = f";{settings.SESSION_COOKIE_NAME}="
    _, found, rest = f";{cookies}".replace("; ", ";").rpartition(name)
    return rest.partition(";")[0].strip() if found else ""


def digest_of(secret: str) -> str:
    """What a process keeps in place of a secret."""
    return hashlib.blake2b(secret.encode(), digest_size=16, key=_KEY).hexdigest()
