"""Secrets at rest: sealed for one row, by one ring, and open nowhere else (ruling C2)."""

import base64
import json
import os

import pytest
from django.db import connection

from integrations.cus_credentials.envelope import KeyRing, KeyRingInvalid, open_sealed, seal
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.service import CusCredentialService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CredentialUnreadable
from tests.cus_factories import make_integration, opened_credential


def _key(name: str) -> str:
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"


def test_what_was_sealed_opens_for_its_row_alone() -> None:
    ring = KeyRing.parse(_key("a"))
    sealed = seal(ring, b"secret", row="tenant:one")

    assert open_sealed(ring, sealed, row="tenant:one") == b"secret"
    with pytest.raises(CredentialUnreadable):
        open_sealed(ring, sealed, row="tenant:two")


def test_no_flipped_bit_and_no_cut_goes_unnoticed() -> None:
    ring = KeyRing.parse(_key("a"))
    sealed = seal(ring, b"secret", row="r")

    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CredentialUnreadable):
            open_sealed(ring, bytes(flipped), row="r")
    for length in range(len(sealed)):
        with pytest.raises(CredentialUnreadable):
            open_sealed(ring, sealed[:length], row="r")


def test_the_first_key_seals_and_every_key_opens() -> None:
    old, new = _key("old"), _key("new")
    sealed = seal(KeyRing.parse(old), b"secret", row="r")

    both = KeyRing.parse(f"{new},{old}")

    assert open_sealed(both, sealed, row="r") == b"secret"
    assert b"new" in seal(both, b"secret", row="r")[:6]
    with pytest.raises(CredentialUnreadable):
        open_sealed(KeyRing.parse(new), sealed, row="r")


def test_the_same_secret_never_looks_the_same() -> None:
    ring = KeyRing.parse(_key("a"))

    assert len({seal(ring, b"secret", row="r") for _ in range(50)}) == 50


@pytest.mark.parametrize(
    "text", ["", "none", "a:short", ":" + "A" * 44, "a:" + "!" * 44, "ü:" + "A" * 43 + "="]
)
def test_a_ring_that_is_none_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(KeyRingInvalid) as caught:
        KeyRing.parse(text)

    assert "32 bytes" in str(caught.value)
    assert not text or text not in str(caught.value)


def test_a_ring_shows_no_key() -> None:
    text = _key("a")

    assert text.split(":")[1] not in repr(KeyRing.parse(text))


def test_a_credential_is_in_no_column_in_plain(integration: CusIntegration) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT sealed, hint, key_id FROM cus_credentials")
        sealed, hint, key_id = cursor.fetchone()
        cursor.execute("SELECT cus_integrations::text FROM cus_integrations")
        (row,) = cursor.fetchone()

    assert b"sk-test" not in bytes(sealed)
    assert hint == "cdef"
    assert "sk-test" not in row + key_id
    opened = opened_credential(integration)
    assert opened == {"api_key": "sk-test-0123456789abcdef"}


def test_a_reference_names_the_row_that_holds_the_credential(integration: CusIntegration) -> None:
    stored = CusCredential.objects.get(integration=integration)

    assert integration.credential_ref == f"db://{stored.id}"


def test_a_ciphertext_moved_to_another_row_does_not_open(integration: CusIntegration) -> None:
    other = make_integration(credential={"api_key": "sk-other-0123456789"})
    stolen = CusCredential.objects.get(integration=other)
    CusCredential.objects.filter(integration=integration).update(
        sealed=stolen.sealed, key_id=stolen.key_id
    )

    with pytest.raises(CredentialUnreadable):
        opened_credential(integration)


def test_storing_again_replaces_what_was_there(integration: CusIntegration) -> None:
    service = CusCredentialService(integration.tenant)
    service.store(integration, {"api_key": "sk-new-abcdefghijkl"})

    assert CusCredential.objects.filter(integration=integration).count() == 1
    assert json.dumps(opened_credential(integration)) == '{"api_key": "sk-new-abcdefghijkl"}'
