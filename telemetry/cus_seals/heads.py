"""Heads of chains, exported to a place that nobody who can write to the database can change."""

import uuid
from collections.abc import Iterable
from datetime import date

import msgspec

from telemetry.cus_seals.models import CusEvidenceSeal
from telemetry.cus_seals.service import last_seal
from telemetry.cus_seals.verification import CheckedDay


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last seal of a tenant's chain when the head was exported. `digest` is in hex."""

    tenant: uuid.UUID
    day: date
    digest: str


class HeadsUnreadable(Exception):
    """The file holds no exported heads. Take a file that cus_evidence_head has written."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"{self.__doc__} ({reason})")


def exported(tenant_ids: Iterable[uuid.UUID]) -> str:
    """The heads of these tenants' chains, as JSON; a tenant without a seal has none."""
    seals = (last_seal(tenant_id) for tenant_id in tenant_ids)
    heads = [Head(seal.tenant_id, seal.day, seal.digest) for seal in seals if seal]
    return msgspec.json.format(msgspec.json.encode(heads), indent=1).decode()


def imported(text: bytes) -> list[Head]:
    """The heads in an exported text. Raises HeadsUnreadable."""
    try:
        return msgspec.json.decode(text, type=list[Head])
    except msgspec.DecodeError as error:
        raise HeadsUnreadable(error) from None


def compared(head: Head) -> CheckedDay:
    """Whether a chain still has the seal that was exported as its head."""
    checked = CheckedDay(head.tenant, head.day)
    seal = CusEvidenceSeal.objects.filter(tenant_id=head.tenant, day=head.day).first()
    if seal is None:
        checked.faults.append("seal missing: it was exported as the head of the chain")
    elif seal.digest != head.digest:
        checked.faults.append("chain rewritten: the seal is not the one that was exported")
    return checked
