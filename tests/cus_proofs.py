"""For tests of proofs: sessions whose proof is over, and all rows that access is made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from integrations.cus_accounts.models import CusApiToken, CusMembership, CusTenant, CusUser
from integrations.cus_accounts.proof import PROOF_LASTS, Factor, note_proof
from integrations.cus_accounts.session_models import CusSession
from integrations.cus_credentials.models import CusCredential
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import signed_in

# What each row says of access. Columns that say when something was used are none of it.
_COLUMNS: dict[type[Model], tuple[str, ...]] = {
    CusCredential: ("id", "sealed"),
    CusIntegration: ("id", "credential_ref", "credential_origin"),
    CusSdkKey: ("id", "label", "expires_at", "revoked_at"),
    CusApiToken: ("id", "expiry", "revoked_at", "may_change_access", "read_only"),
    CusMembership: ("id", "user_id", "role", "invited_email"),
    CusUser: ("id", "password", "is_active", "is_superuser", "is_support", "is_finance"),
    TOTPDevice: ("id", "key", "confirmed"),
    StaticToken: ("id", "token"),
    CusSession: ("id", "ended_at"),
}


@contextmanager
def lasting_proofs() -> Iterator[None]:
    """The sessions that a file's tests share stay proven, however slow this machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("integrations.cus_accounts.proof.PROOF_LASTS", timedelta(hours=1))
        yield


def access_rows() -> set[tuple[Any, ...]]:
    """Everything that says who or what has access."""
    rows = {
        (model, *map(_comparable, row))
        for model, columns in _COLUMNS.items()
        for row in model._default_manager.values_list(*columns)
    }
    # Closing a tenant shuts its people out; making a tenant gives no person access.
    closed = CusTenant.objects.filter(closed_at__isnull=False)
    return rows | {(CusTenant, id_) for id_ in closed.values_list("id", flat=True)}


def _comparable(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def prove(client: Client, *factors: Factor, at: datetime | None = None) -> None:
    """Note a proof of these factors in the browser's session."""
    session = client.session
    note_proof(session, *factors, at=at or timezone.now())
    session.save()


def make_stale(client: Client) -> Client:
    """A browser whose person last proved who they are a second too long ago."""
    prove(client, *Factor, at=timezone.now() - PROOF_LASTS - timedelta(seconds=1))
    return client


def stale(user: CusUser) -> Client:
    """A browser in which the person is signed in, and whose proof is over."""
    return make_stale(signed_in(user))
