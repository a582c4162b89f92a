"""Record, list and end the sessions of a person.

Ending a session deletes Django's row and marks ours, which `CusSessionGuard` reads at each request.
So a request that is under way can't restore an ended session.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_accounts.proof import asking_session
from integrations.cus_accounts.session_models import CusSession
from integrations.cus_audit.service import record_change

# The last use helps people find a stranger's session; a write every five minutes is enough.
_SEEN_EVERY = timedelta(minutes=5)
# A session without a row counts as ended, so rows are kept longer than sessions.
_KEPT_FOR = timedelta(days=1)
_IN_SESSION = "cus_session"


class CusSessionService:
    """The sessions of one person, `user`; `actor` is the person who ends sessions."""

    def __init__(self, user: CusUser, *, actor: CusUser | None = None) -> None:
        self.user = user
        self.actor = actor

    def alive(self, *, now: datetime) -> QuerySet[CusSession]:
        """The open sessions, the last used first."""
        rows = CusSession.objects.filter(user=self.user, ended_at=None, expires_at__gt=now)
        return rows.order_by("-last_seen_at", "id")

    @transaction.atomic
    def end_one(self, session_id: uuid.UUID, *, now: datetime) -> bool:
        """End one session. False if the person has no open session of that id."""
        return bool(self._end_and_tell(Q(id=session_id), now))

    @transaction.atomic
    def end_all(self, *, now: datetime) -> int:
        """End all sessions but the session of this request; return their number."""
        return self._end_and_tell(~Q(id=_asking()), now)

    @transaction.atomic
    def end_with(self, *, now: datetime) -> None:
        """End all sessions but this request's, because of a change that has its own audit entry."""
        self._end(~Q(id=_asking()), now)

    def _end_and_tell(self, which: Q, now: datetime) -> int:
        """End sessions, with an audit entry and a mail. Raises ProofRequired."""
        ended = self._end(which, now)
        if ended:
            record_change(
                "person.sessions_ended",
                self.user,
                actor=self.actor,
                tenant=CusTenant.objects.filter(memberships__user=self.user).first(),
                changes={"sessions": "; ".join(str(session) for session in ended)},
            )
        return len(ended)

    def _end(self, which: Q, now: datetime) -> list[CusSession]:
        rows = list(self.alive(now=now).filter(which).select_for_update(no_key=True))
        CusSession.objects.filter(id__in=[row.id for row in rows]).update(ended_at=now)
        _delete_keys([row.key_hash for row in rows])
        return rows


class EndSessionsWithPassword:
    """Ends sessions when a password changes; Django tells password validators of changes.

    Django already refuses sessions that were opened with the old password. This also stops the
    console from listing them as open.
    """

    def validate(self, password: str, user: CusUser | None = None) -> None:
        """Accept every password."""

    def get_help_text(self) -> str:
        return ""

    def password_changed(self, password: str, user: CusUser | None = None) -> None:
        """End the person's sessions. `CusUser.save` calls this after a new password was set."""
        if user is not None:
            CusSessionService(user).end_with(now=timezone.now())


@dataclass(frozen=True)
class Visit:
    """The address and the browser of a request."""

    address: str | None
    browser: str


def sign_in(session: SessionBase, user: CusUser, visit: Visit, *, now: datetime) -> None:
    """Record that the person has just signed in by this session."""
    # A second sign-in in the same browser keeps the session's row.
    row_id = named_by(session) or _start(session, user, visit, now=now).id
    CusSession.objects.filter(id=row_id).update(signed_in_at=now)


def _start(session: SessionBase, user: CusUser, visit: Visit, *, now: datetime) -> CusSession:
    if not session.session_key:
        session.save()
    row, _ = CusSession.objects.get_or_create(
        key_hash=_hash(session.session_key),
        defaults={
            "user": user,
            "last_seen_at": now,
            "expires_at": session.get_expiry_date(),
            "address": visit.address,
            "browser": visit.browser,
        },
    )
    session[_IN_SESSION] = str(row.id)
    return row


def is_open(session: SessionBase, user: CusUser, visit: Visit, *, now: datetime) -> bool:
    """Whether the person's session is open; notes its last use.

    A session from before this table existed gets a row now.
    """
    named = named_by(session)
    if named is None:
        return _start(session, user, visit, now=now).ended_at is None
    row = CusSession.objects.filter(id=named, user=user, ended_at=None).first()
    if row is None:
        return False
    if now - row.last_seen_at >= _SEEN_EVERY:
        CusSession.objects.filter(id=row.id).update(
            last_seen_at=now, address=visit.address, browser=visit.browser
        )
    return True


def follow(session: SessionBase) -> None:
    """Store the session's new key and expiry in its row, after the session has changed."""
    named = named_by(session)
    if named and session.session_key:
        CusSession.objects.filter(id=named).update(
            key_hash=_hash(session.session_key), expires_at=session.get_expiry_date()
        )


def sign_out(session: SessionBase, *, now: datetime) -> None:
    """Mark the session's row as ended; Django deletes the session itself."""
    if named := named_by(session):
        CusSession.objects.filter(id=named, ended_at=None).update(ended_at=now)


def forget_old_sessions(*, now: datetime) -> None:
    """Delete the rows of sessions that ended more than a day ago."""
    over = Q(expires_at__lt=now - _KEPT_FOR) | Q(ended_at__lt=now - _KEPT_FOR)
    CusSession.objects.filter(over).delete()


def named_by(session: SessionBase) -> uuid.UUID | None:
    """The id of the session's row; None for an anonymous session, and before it has a row."""
    named: Any = session.get(_IN_SESSION)
    return uuid.UUID(named) if named else None


def _asking() -> uuid.UUID | None:
    session = asking_session()
    return named_by(session) if session is not None else None


def _hash(key: str | None) -> str:
    return hashlib.sha256((key or "").encode()).hexdigest()


def _delete_keys(hashes: list[str]) -> None:
    """Delete Django's rows by the hashes of their keys.

    Django's table has no column of hashes, but few rows, which live for hours: a scan is cheap.
    """
    if not hashes:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_session"
            " WHERE encode(sha256(convert_to(session_key, 'UTF8')), 'hex') = ANY(%s)",
            [hashes],
        )
