"""Issue, list and revoke the API tokens of a person.

A token is `aost_` and 256 random bits. At each use a token has its person's rights of that moment:
the tokens of a person without a role, or of a deactivated person, are invalid. A token's own rights
narrow this further: see `cus_accounts.token_rights`.
"""

import hmac
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from knox.crypto import hash_token
from knox.models import get_digest_token
from knox.settings import CONSTANTS, knox_settings

from integrations.cus_accounts.models import CusApiToken, CusTenant, CusUser
from integrations.cus_accounts.permissions import keep_loaded_membership, role_of
from integrations.cus_accounts.token_rights import TokenRights
from integrations.cus_audit.service import differences, record_change
from integrations.cus_web.addresses import Address, is_within
from integrations.cus_web.errors import CusError
from integrations.cus_web.quotas import TOKENS_A_DAY, made_within_a_day

LONGEST = timedelta(days=365)
USUAL = timedelta(days=90)
_MOST = 50
# People use the last use to find tokens to revoke; a write every ten minutes is enough.
_LAST_USED_EVERY = timedelta(minutes=10)

log = structlog.get_logger(__name__)


class TokenExpiryInvalid(CusError):
    """A token ends in the future, and within a year. Choose such a moment."""

    code = "token_expiry_invalid"


class TokenOutlivesItsMaker(CusError):
    """A token that is made with a token ends no later than that one. Choose an earlier moment."""

    code = "token_expiry_invalid"


class TooManyTokens(CusError):
    """You have 50 tokens that are alive. Revoke one that is not used any more."""

    code, status = "too_many_tokens", 409


class CusTokenService:
    """The tokens of one person, `user`; `actor` is the person who issues or revokes them."""

    def __init__(self, user: CusUser, *, actor: CusUser | None = None) -> None:
        self.user = user
        self.actor = actor or user

    def scope(self) -> QuerySet[CusApiToken]:
        """The person's tokens, including ended tokens."""
        return CusApiToken.objects.filter(user=self.user)

    def alive(self, *, now: datetime) -> QuerySet[CusApiToken]:
        """The person's valid tokens, the newest first."""
        return self.scope().filter(revoked_at__isnull=True, expiry__gt=now).order_by("-created")

    @transaction.atomic
    def issue(
        self,
        *,
        name: str,
        now: datetime,
        expires_at: datetime | None = None,
        rights: TokenRights | None = None,
        made_with: CusApiToken | None = None,
    ) -> tuple[CusApiToken, str]:
        """A new token and its text, which is stored nowhere and can't be shown again.

        Without `rights` the token may read and write from anywhere, and change no access.
        `made_with` is the token of the request: the new token ends no later and has no more rights.
        Raises ValidationError, TokenExpiryInvalid, TokenOutlivesItsMaker, TokenExceedsItsMaker,
        TooManyTokens and what `record_change` raises.
        """
        rights = (rights or TokenRights()).checked()
        if made_with:
            rights = rights.made_with(made_with)
        expiry = expires_at or min(now + USUAL, made_with.expiry if made_with else now + USUAL)
        if not now < expiry <= now + LONGEST:
            raise TokenExpiryInvalid
        if made_with and expiry > made_with.expiry:
            raise TokenOutlivesItsMaker
        self._in_a_row()
        if made_with and not self.scope().filter(id=made_with.id, revoked_at__isnull=True).exists():
            raise TokenOutlivesItsMaker
        if self.alive(now=now).count() >= _MOST:
            raise TooManyTokens
        TOKENS_A_DAY.require_room(made_within_a_day(self.scope(), "created", now))
        return self._make(name, expiry, rights)

    def revoke(self, token: CusApiToken, *, now: datetime) -> bool:
        """Revoke a token for good. False if the token had ended already."""
        return bool(self._end(self.scope().filter(id=token.id), now, is_consequence=False))

    def revoke_all(self, *, now: datetime) -> int:
        """Revoke all of the person's tokens, as when they leave; return their number."""
        return self._end(self.scope(), now, is_consequence=True)

    def _make(self, name: str, expiry: datetime, rights: TokenRights) -> tuple[CusApiToken, str]:
        digest, text = get_digest_token()
        token = CusApiToken(
            user=self.user,
            name=name,
            expiry=expiry,
            **rights.as_columns(),
            hint=text[-4:],
            digest=digest,
            token_key=text[: CONSTANTS.TOKEN_KEY_LENGTH],
        )
        token.full_clean()
        token.save(force_insert=True)
        changes = differences({}, {"expires_at": expiry} | rights.as_columns())
        record_change(
            "token.issued", token, actor=self.actor, tenant=self._tenant(), changes=changes
        )
        return token, text

    @transaction.atomic
    def _end(self, tokens: "QuerySet[CusApiToken]", now: datetime, *, is_consequence: bool) -> int:
        """Revoke the valid tokens among these, each with an entry in the audit trail."""
        self._in_a_row()
        alive = list(tokens.filter(revoked_at__isnull=True).select_for_update(no_key=True))
        CusApiToken.objects.filter(id__in=[token.id for token in alive]).update(revoked_at=now)
        for token in alive:
            record_change(
                "token.revoked",
                token,
                actor=self.actor,
                tenant=self._tenant(),
                is_consequence=is_consequence,
            )
        return len(alive)

    def _in_a_row(self) -> None:
        """Lock the person, so that no other transaction makes or ends their tokens meanwhile.

        So two requests at once can't exceed the bounds together, and revoking all tokens misses
        no token that was being made.
        """
        CusUser.objects.select_for_update(no_key=True).get(id=self.user.id)

    def _tenant(self) -> CusTenant | None:
        return CusTenant.objects.filter(memberships__user=self.user).first()


def verify_token(text: str, *, address: Address | None, now: datetime) -> CusApiToken | None:
    """The valid token of this text, whose person has a role; None if there is no such token.

    None also if the token may not be used from this address: a thief must not learn that it is
    valid. The token's person sees the refusal in the console.
    """
    if not text.startswith(knox_settings.TOKEN_PREFIX):
        return None
    digest = hash_token(text)
    alive = CusApiToken.objects.filter(digest=digest, revoked_at__isnull=True, expiry__gt=now)
    token: CusApiToken | None = alive.select_related("user__membership__tenant").first()
    # The index does not compare in constant time, so compare once more.
    if token is None or not hmac.compare_digest(token.digest, digest):
        return None
    keep_loaded_membership(token.user)
    if role_of(token.user) is None:
        return None
    if token.address_ranges and not is_within(address, token.address_ranges):
        _note_refused(token, address, now)
        return None
    if token.last_used_at is None or now - token.last_used_at >= _LAST_USED_EVERY:
        CusApiToken.objects.filter(id=token.id).update(last_used_at=now)
    return token


def _note_refused(token: CusApiToken, address: Address | None, now: datetime) -> None:
    """Record a use from outside the token's ranges, in its row and in the log; as rarely as use."""
    if token.last_refused_at and now - token.last_refused_at < _LAST_USED_EVERY:
        return
    shown = str(address) if address else None
    log.warning("token used from outside its ranges", token_id=str(token.id), address=shown)
    CusApiToken.objects.filter(id=token.id).update(last_refused_at=now, last_refused_address=shown)


class EndTokensWithPassword:
    """Revokes tokens when a password changes; Django tells password validators of changes.

    A person may change the password because a thief knows it, and the thief may have made tokens.
    """

    def validate(self, password: str, user: CusUser | None = None) -> None:
        """Accept every password."""

    def get_help_text(self) -> str:
        return ""

    def password_changed(self, password: str, user: CusUser | None = None) -> None:
        """Revoke the person's tokens. `CusUser.save` calls this after a new password was set."""
        if user is not None:
            CusTokenService(user).revoke_all(now=timezone.now())
