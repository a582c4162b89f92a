"""A tenant's own prices: appended with a moment from which they hold, never changed (M5)."""

import re
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from aos_sdk.cus_cost import CusModelPricing
from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import differences, record_change, values_of
from integrations.cus_lifecycle.service import CusIntegrationLifecycle, raise_config_versions
from integrations.cus_prices.models import CusPriceOverride
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import MomentTaken
from integrations.cus_web.quotas import OVERRIDES

KINDS = (
    "input",
    "cached",
    "cache_write_5m",
    "cache_write_1h",
    "audio_in",
    "image_in",
    "output",
    "reasoning",
    "audio_out",
)
# Up to a million dollars per million tokens, down to what a rate can hold.
_PRICE = re.compile(r"\d{1,6}(?:\.\d{1,8})?")


class CusPriceOverrideService:
    """The prices of one tenant."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusPriceOverride]:
        """The tenant's prices, newest moment of a model first."""
        return CusPriceOverride.objects.filter(tenant=self.tenant)

    @transaction.atomic
    def append(
        self, *, model: str, prices: dict[str, Any], valid_from: datetime, note: str = ""
    ) -> CusPriceOverride:
        """A new price of a model from a moment on.

        Raises ValidationError, by field, MomentTaken, TenantClosed and QuotaExceeded.
        """
        CusIntegrationLifecycle(self.tenant).require_open_tenant()
        OVERRIDES.require_room(self.scope())
        override = CusPriceOverride(
            tenant=self.tenant,
            model=model.strip(),
            prices=checked_prices(prices),
            valid_from=valid_from,
            note=note,
            created_by=self.actor,
        )
        override.full_clean()
        with refused_by(cus_price_overrides_moment=MomentTaken):
            override.save(force_insert=True)
        raise_config_versions(self.tenant)
        changes = differences({}, values_of(override, ("model", "prices", "valid_from", "note")))
        record_change("price_override.appended", override, actor=self.actor, changes=changes)
        return override


def checked_prices(prices: Any) -> dict[str, str]:
    """The prices as decimal texts. Raises ValidationError, which says what is wrong."""
    if not isinstance(prices, dict):
        raise ValidationError({"prices": "Prices are an object of kinds and dollars."})
    unknown = sorted(set(prices) - set(KINDS))
    if unknown:
        known = ", ".join(KINDS)
        raise ValidationError({"prices": f"Unknown: {', '.join(unknown)}. Kinds are {known}."})
    for kind in ("input", "output"):
        if kind not in prices:
            raise ValidationError({"prices": f"The price of {kind} is missing."})
    texts = {kind: _checked(kind, price) for kind, price in prices.items()}
    # What can't be built now could not price a call later.
    CusModelPricing.from_data("override", {}, texts)
    return texts


def _checked(kind: str, price: Any) -> str:
    if isinstance(price, str) and _PRICE.fullmatch(price):
        return price
    hint = "a text with dollars per million tokens, such as '2.50' (at most 8 decimals)"
    raise ValidationError({"prices": f"The price of {kind} must be {hint}."})
