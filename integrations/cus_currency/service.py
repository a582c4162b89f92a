"""A tenant's display currency: rates are appended with a moment, and shown beside dollars."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import differences, record_change, values_of
from integrations.cus_currency.models import CusDisplayRate
from integrations.cus_lifecycle.service import CusIntegrationLifecycle
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import CusError
from integrations.cus_web.quotas import DISPLAY_RATES

DOLLARS = "USD"
_CURRENCY = re.compile(r"[A-Z]{3}")
_RATE = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,8})?")


class RateMomentTaken(CusError):
    """There is a rate from that moment on already. Choose another moment."""

    code, attr = "moment_taken", "valid_from"


@dataclass(frozen=True)
class DisplayCurrency:
    """A currency other than US dollars, and how many of it one dollar is, since a moment."""

    currency: str
    rate: Decimal
    valid_from: datetime

    def __str__(self) -> str:
        rate = f"{self.rate.normalize():f} {self.currency}"
        return f"{self.currency} (at {rate} a US dollar, since {self.valid_from:%Y-%m-%d})"

    def shown(self, microcents: int, *, decimals: int = 4) -> str:
        """An amount in the currency, as decimal text; microcents are of US dollars."""
        dollars = Decimal(microcents) / (100 * MICROCENTS_PER_CENT)
        return f"{dollars * self.rate:.{decimals}f}"


def display_currency(tenant_id: uuid.UUID, at: datetime) -> DisplayCurrency | None:
    """In which currency a tenant's people see amounts beside US dollars; None: in no other."""
    holding = CusDisplayRate.objects.filter(tenant_id=tenant_id, valid_from__lte=at)
    rate = holding.order_by("-valid_from").first()
    if rate is None or rate.currency == DOLLARS:
        return None
    return DisplayCurrency(rate.currency, rate.rate, rate.valid_from)


class CusDisplayRateService:
    """The display rates of one tenant."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusDisplayRate]:
        """The tenant's rates, the newest moment first."""
        return CusDisplayRate.objects.filter(tenant=self.tenant)

    @transaction.atomic
    def append(self, *, currency: str, rate: str, valid_from: datetime) -> CusDisplayRate:
        """A new rate from a moment on: so many of the currency are one US dollar.

        Raises ValidationError, by field, RateMomentTaken, TenantClosed and QuotaExceeded.
        """
        CusIntegrationLifecycle(self.tenant).require_open_tenant()
        DISPLAY_RATES.require_room(self.scope())
        appended = CusDisplayRate(
            tenant=self.tenant,
            currency=_currency(currency),
            rate=_rate(rate),
            valid_from=valid_from,
            created_by=self.actor,
        )
        appended.full_clean()
        with refused_by(cus_display_rates_moment=RateMomentTaken):
            appended.save(force_insert=True)
        changes = differences({}, values_of(appended, ("currency", "rate", "valid_from")))
        record_change("display_rate.appended", appended, actor=self.actor, changes=changes)
        return appended


def _currency(text: str) -> str:
    if _CURRENCY.fullmatch(text):
        return text
    hint = "Name the currency by its three capital letters, such as EUR."
    raise ValidationError({"currency": hint})


def _rate(text: str) -> Decimal:
    if _RATE.fullmatch(text) and (rate := Decimal(text)):
        return rate
    hint = "Give what one US dollar is worth, such as 0.92: more than 0, at most 8 decimals."
    raise ValidationError({"rate": hint})
