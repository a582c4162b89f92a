"""Whether a person has proved their identity within the last minutes (ruling C10).

The session notes each factor that the person showed, with its time. Today the factors are a
password and a code. An identity provider can note the factors that it checked, at its `auth_time`,
without another change here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils import timezone

from integrations.cus_accounts.models import CusApiToken, CusTotpDevice, CusUser
from integrations.cus_web.errors import ProofRequired, TokenMayNotChangeAccess

PROOF_LASTS = timedelta(minutes=5)
_IN_SESSION = "cus_proof"
# The request that is being answered; None in commands and jobs, which act for the system.
_request: ContextVar[HttpRequest | None] = ContextVar("cus_request", default=None)
_has_link: ContextVar[bool] = ContextVar("cus_has_link", default=False)


class Factor(StrEnum):
    """A factor by which a person proves their identity."""

    PASSWORD = auto()
    CODE = auto()


def note_proof(session: SessionBase, *factors: Factor, at: datetime) -> None:
    """Note in the session that its person showed these factors at that moment."""
    noted = dict.fromkeys(map(str, factors), at.timestamp())
    session[_IN_SESSION] = session.get(_IN_SESSION, {}) | noted


def is_proved(session: SessionBase, person: CusUser, *, now: datetime) -> bool:
    """Whether the session's person showed all their factors within the last 5 minutes.

    The code is required of people who have set up a second factor.
    """
    has_code = CusTotpDevice.is_set_up_for(person)
    needed = [Factor.PASSWORD, Factor.CODE] if has_code else [Factor.PASSWORD]
    noted = session.get(_IN_SESSION, {})
    ages = [now.timestamp() - noted.get(factor, 0) for factor in needed]
    return all(0 <= age < PROOF_LASTS.total_seconds() for age in ages)


def needs_proof(request: HttpRequest) -> bool:
    """Whether a signed-in person must prove their identity before they change access."""
    user: Any = request.user
    return bool(user.is_authenticated) and not is_proved(request.session, user, now=timezone.now())


def require_proof() -> None:
    """Refuse a change of access that the request being answered may not make.

    A session needs a fresh proof; an API token needs the right to change access. Outside of
    requests the system acts, which needs neither. Raises ProofRequired, TokenMayNotChangeAccess.
    """
    request = _request.get()
    if request is None or _has_link.get():
        return
    token = token_in_use()
    if token:
        if not token.may_change_access:
            raise TokenMayNotChangeAccess
        return
    if not request.user.is_authenticated or needs_proof(request):
        raise ProofRequired


def token_in_use() -> CusApiToken | None:
    """The API token that the request being answered came with."""
    # REST framework stores the token of an authenticated request in `auth`.
    token = getattr(_request.get(), "auth", None)
    return token if isinstance(token, CusApiToken) else None


def is_person_asking() -> bool:
    """Whether a person's request is being answered, by session, token or mailed link."""
    return _request.get() is not None


def asking_session() -> SessionBase | None:
    """The session of the request that is being answered; its user may be anonymous."""
    request = _request.get()
    return request.session if request else None


@contextmanager
def answering(request: HttpRequest) -> Iterator[None]:
    """Make `require_proof` judge this request, as long as the block runs."""
    before = _request.set(request)
    try:
        yield
    finally:
        _request.reset(before)


@contextmanager
def proved_by_mailed_link() -> Iterator[None]:
    """Accept a link that was mailed to the person's address as the proof, within the block."""
    before = _has_link.set(True)
    try:
        yield
    finally:
        _has_link.reset(before)


def note_sign_in(request: HttpRequest, **_signal: Any) -> None:
    """Note the password as shown at sign-in. Django's signal calls this."""
    note_proof(request.session, Factor.PASSWORD, at=timezone.now())
