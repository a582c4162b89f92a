"""A tenant's own prices: appended with a moment from which they hold, never changed (M5)."""

import re
import uuid
from datetime import datetime
from typing import Any, Required, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from integrations.cus_accounts.models import CusTenant, CusUser
from integrations.cus_audit.service import differences, record_change, values_of
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_lifecycle.service import CusIntegrationLifecycle, raise_config_versions
from integrations.cus_prices.models import ONE_LIMIT, CusPriceOverride
from integrations.cus_prices.price_list import price_list
from integrations.cus_prices.prices import checked_prices, needs_list
from integrations.cus_web.conflicts import refused_by
from integrations.cus_web.errors import IntegrationNotFound, MomentTaken
from integrations.cus_web.quotas import OVERRIDES

# As records name providers and hosts.
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,49}")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f:]+")


class Limit(TypedDict, total=False):
    """Which calls of its model a price is for: of one of these at most; without any, all."""

    integration_id: uuid.UUID | None
    provider: str | None
    host: str | None


class Price(Limit):
    """What a price is of, what it says (`prices.checked_prices`), and from when on it holds."""

    model: Required[str]
    prices: Required[dict[str, Any]]
    valid_from: Required[datetime]


_AUDITED = (
    "model", "integration_id", "provider", "host", "prices", "valid_from", "note"
)  # fmt: skip
_SUCH_AS = {
    "provider": "Name the provider as usage records do, such as openai or deepseek.",
    "host": "Name the host alone, such as api.example.com: without https://, port and path.",
}
_NO_LIST_PRICE = (
    "The list has no price of this model, so there is nothing to change: "
    "name the prices of input and of output."
)


class CusPriceOverrideService:
    """The prices of one tenant."""

    def __init__(self, tenant: CusTenant, *, actor: CusUser | None = None) -> None:
        self.tenant = tenant
        self.actor = actor

    def scope(self) -> QuerySet[CusPriceOverride]:
        """The tenant's prices, newest moment of a model first."""
        return CusPriceOverride.objects.filter(tenant=self.tenant)

    @transaction.atomic
    def append(self, *, note: str = "", **price: Unpack[Price]) -> CusPriceOverride:
        """A new price of a model from a moment on.

        Raises ValidationError, by field, MomentTaken, TenantClosed and QuotaExceeded.
        """
        OVERRIDES.require_room(self.scope())
        override = self.checked(note=note, **price)
        with refused_by(cus_price_overrides_moment=MomentTaken):
            override.save(force_insert=True)
        raise_config_versions(self.tenant)
        changes = differences({}, values_of(override, _AUDITED))
        record_change("price_override.appended", override, actor=self.actor, changes=changes)
        return override

    @transaction.atomic
    def checked(self, *, note: str = "", **price: Unpack[Price]) -> CusPriceOverride:
        """The price as it would be appended; nothing is stored.

        Raises ValidationError, by field, and TenantClosed.
        """
        CusIntegrationLifecycle(self.tenant).require_open_tenant()
        override = CusPriceOverride(
            tenant=self.tenant,
            model=price["model"].strip(),
            prices=checked_prices(price["prices"]),
            valid_from=price["valid_from"],
            note=note,
            created_by=self.actor,
            replaces_list=False,
            integration=self._integration(price.get("integration_id")),
            provider=_named("provider", price.get("provider"), _PROVIDER),
            host=_named("host", price.get("host"), _HOST),
        )
        _require_one_limit(override)
        override.full_clean()
        if needs_list(override.prices) and not price_list().knows(override):
            raise ValidationError({"prices": _NO_LIST_PRICE})
        return override

    def _integration(self, integration_id: uuid.UUID | None) -> CusIntegration | None:
        if integration_id is None:
            return None
        try:
            return CusIntegrationLifecycle(self.tenant).get(integration_id)
        except IntegrationNotFound as missing:
            raise ValidationError({"integration_id": missing.detail}) from None


def _require_one_limit(override: CusPriceOverride) -> None:
    given = [name for name in ("integration_id", "provider", "host") if getattr(override, name)]
    if len(given) > 1:
        raise ValidationError({given[-1]: ONE_LIMIT})


def _named(limit: str, given: str | None, form: re.Pattern[str]) -> str | None:
    """A provider or host as records name it; None where nothing is given."""
    name = (given or "").strip().lower()
    if not name:
        return None
    if form.fullmatch(name):
        return name
    raise ValidationError({limit: _SUCH_AS[limit]})
