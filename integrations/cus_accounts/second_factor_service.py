"""The second factor of one person: set it up, check it at sign-in, reset it."""

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import cast

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from integrations.cus_accounts.models import CusTotpDevice, CusUser
from integrations.cus_accounts.session_service import CusSessionService
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_audit.service import record_change
from integrations.cus_web.errors import OperatorsOnly

_RECOVERY_CODES = 10
# No letter or digit that people confuse with another.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_CODE_LETTERS = 10  # 49 bits
_STORED_DIGITS = 16


class CusSecondFactorService:
    """An authenticator app, and recovery codes for a lost phone."""

    def __init__(self, user: CusUser) -> None:
        self.user = user

    def is_set_up(self) -> bool:
        """Whether the person has confirmed an authenticator by a code."""
        return CusTotpDevice.is_set_up_for(self.user)

    def begin(self, device_id: int | None = None) -> CusTotpDevice:
        """The authenticator that is being set up: `device_id` if not confirmed yet, else a new one.

        Without `device_id` the authenticator is new, with a seed that was never shown.
        """
        waiting = CusTotpDevice.objects.filter(user=self.user, confirmed=False)
        named = waiting.filter(id=device_id).first() if device_id else None
        if named:
            return cast("CusTotpDevice", named)
        # Deletes through the concrete model, because Django deletes a proxy's rows as that model.
        TOTPDevice.objects.filter(user=self.user, confirmed=False).delete()
        return cast(
            "CusTotpDevice",
            CusTotpDevice.objects.create(user=self.user, name="Authenticator", confirmed=False),
        )

    @transaction.atomic
    def confirm(self, device: CusTotpDevice, code: str) -> list[str] | None:
        """Put the authenticator into use, in place of any other. Returns the new recovery codes.

        Returns None if the code is wrong. API tokens and other sessions end, because they were
        opened with fewer factors. In a session this needs a proof by the factors that were set up
        before. Raises ProofRequired.
        """
        locked = CusTotpDevice.objects.select_for_update().filter(id=device.id).first()
        if locked is None or not locked.verify_token(_digits(code)):
            return None
        # Before the new authenticator is confirmed, which a proof would then need. Locks the
        # person before their mails are counted, in the same order as issuing a token.
        CusTokenService(self.user).revoke_all(now=timezone.now())
        record_change("person.second_factor_set_up", self.user, actor=self.user)
        CusTotpDevice.objects.filter(id=device.id).update(confirmed=True)
        device.confirmed = True
        TOTPDevice.objects.filter(user=self.user).exclude(id=device.id).delete()
        # Deleting the old codes ends the sessions that were opened with them.
        StaticDevice.objects.filter(user=self.user).delete()
        CusSessionService(self.user).end_with(now=timezone.now())
        return self._new_recovery_codes()

    @transaction.atomic
    def renew_recovery_codes(self) -> list[str]:
        """Make ten new recovery codes, which are shown once; the old codes become invalid.

        In a session this needs a proof. Raises ProofRequired.
        """
        record_change("person.recovery_codes_renewed", self.user, actor=self.user)
        return self._new_recovery_codes()

    @transaction.atomic
    def verify(self, code: str) -> CusTotpDevice | StaticDevice | None:
        """The authenticator or the recovery codes that accept the code; None if neither does."""
        model, given = CusTotpDevice, _digits(code)
        if not given.isdecimal():
            model, given = StaticDevice, _stored(code)
        device = model.objects.select_for_update().filter(user=self.user, confirmed=True).first()
        proved = device is not None and device.verify_token(given)
        return device if proved else None

    def blocked_until(self) -> datetime | None:
        """When a code may be tried again: each wrong code doubles the wait."""
        waits = []
        for model in (CusTotpDevice, StaticDevice):
            for device in model.objects.filter(user=self.user):
                allowed, why = device.verify_is_allowed()
                if not allowed:
                    waits.append(why["locked_until"])
        return max(waits, default=None)

    def recovery_codes_left(self) -> int:
        """The number of unused recovery codes."""
        return int(StaticToken.objects.filter(device__user=self.user).count())

    @transaction.atomic
    def remove(self, *, actor: CusUser | None) -> None:
        """Delete authenticator and recovery codes; the next sign-in sets up new ones.

        For operators and the system. The person's sessions and API tokens end.
        """
        if actor and not actor.is_operator:
            raise OperatorsOnly
        TOTPDevice.objects.filter(user=self.user).delete()
        StaticDevice.objects.filter(user=self.user).delete()
        CusTokenService(self.user, actor=actor).revoke_all(now=timezone.now())
        record_change("person.second_factor_reset", self.user, actor=actor)
        CusSessionService(self.user).end_with(now=timezone.now())

    def _new_recovery_codes(self) -> list[str]:
        device, _ = StaticDevice.objects.get_or_create(
            user=self.user, defaults={"name": "Recovery codes"}
        )
        StaticToken.objects.filter(device=device).delete()
        codes = [_new_code() for _ in range(_RECOVERY_CODES)]
        StaticToken.objects.bulk_create(
            StaticToken(device=device, token=_stored(code)) for code in codes
        )
        return codes


def _new_code() -> str:
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_CODE_LETTERS))
    return f"{letters[:5]}-{letters[5:]}"


def _digits(code: str) -> str:
    return "".join(code.split())


def _stored(code: str) -> str:
    """The stored form of a recovery code: its keyed hash, cut to the column's length."""
    letters = "".join(code.split()).replace("-", "").lower()
    digest = hmac.digest(
        settings.CUS_KEY_HASH_SECRET.encode(), b"recovery:" + letters.encode(), hashlib.sha256
    )
    return digest.hex()[:_STORED_DIGITS]
