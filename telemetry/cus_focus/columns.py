"""The columns of a FOCUS 1.4 "Cost and Usage" dataset that our figures can fill."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from integrations.cus_providers.registry import PROVIDERS

FOCUS_VERSION = "1.4"
NOTICE = "Computed from usage records at known prices. Not an invoice."
# In the order of the specification, which is that of the alphabet; ours, with `x_`, come last.
COLUMNS = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType"),
    *("BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory"),
    *("ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost"),
    *("HostProviderName", "InvoiceId", "InvoiceIssuerName", "ListCost", "PricingCategory"),
    *("PricingQuantity", "PricingUnit", "ServiceCategory", "ServiceName", "ServiceProviderName"),
    *("ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId"),
    *("SubAccountId", "SubAccountName", "SubAccountType", "Tags"),
    *("x_CostBasis", "x_CostSplit", "x_Model", "x_Notice"),
)
_DOLLAR_EXPONENT = -8  # a dollar is 10⁸ microcents
_PRICED_TOKENS = 1_000_000


@dataclass(frozen=True)
class Account:
    """Whose charges these are: a tenant, and an integration as its sub-account."""

    tenant_id: str
    tenant_name: str
    integration_id: str
    integration_name: str


@dataclass(frozen=True)
class Charge:
    """What one row says.

    `meter` is what was counted ("Input Tokens", "Requests"), or None for a correction. `split` says
    how the cost of a model was split among its meters: `list_prices`, `tokens` or `none`.
    """

    account: Account
    provider: str
    model: str
    start: datetime
    end: datetime
    billing: tuple[datetime, datetime]
    microcents: int
    split: str = "none"
    meter: str | None = None
    quantity: int | None = None
    charge_class: str | None = None
    # Texts `key=value`.
    tags: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """The row by the names of its columns: texts, decimals, tags by their keys, or None."""
        cost = Decimal(self.microcents).scaleb(_DOLLAR_EXPONENT)
        provider = PROVIDERS[self.provider].label if self.provider in PROVIDERS else self.provider
        issuer = provider or "unknown"
        return {
            "BilledCost": cost,
            "BillingAccountId": self.account.tenant_id,
            "BillingAccountName": self.account.tenant_name,
            "BillingAccountType": "Tenant",
            "BillingCurrency": "USD",
            "BillingPeriodEnd": _moment(self.billing[1]),
            "BillingPeriodStart": _moment(self.billing[0]),
            "ChargeCategory": "Usage",
            "ChargeClass": self.charge_class,
            "ChargeDescription": self._description(),
            "ChargeFrequency": "Usage-Based",
            "ChargePeriodEnd": _moment(self.end),
            "ChargePeriodStart": _moment(self.start),
            "ContractedCost": cost,
            "EffectiveCost": cost,
            "HostProviderName": issuer,
            "InvoiceId": None,
            "InvoiceIssuerName": issuer,
            "ListCost": cost,
            "ServiceCategory": "AI and Machine Learning",
            "ServiceName": issuer,
            "ServiceProviderName": issuer,
            "ServiceSubcategory": "Generative AI",
            "SubAccountId": self.account.integration_id,
            "SubAccountName": self.account.integration_name,
            "SubAccountType": "Integration",
            "Tags": dict(tag.partition("=")[::2] for tag in self.tags) or None,
            "x_CostBasis": "recorded" if self.meter else "correction",
            "x_CostSplit": self.split,
            "x_Model": self.model,
            "x_Notice": NOTICE,
            **self._quantities(),
        }

    def _description(self) -> str:
        model = self.model or "unknown model"
        return f"{self.meter} of {model}" if self.meter else f"Corrected cost of {model}"

    def _quantities(self) -> dict[str, Any]:
        """Quantities and names of what was counted; all None for a correction."""
        names = ("ConsumedQuantity", "ConsumedUnit", "PricingCategory", "PricingQuantity")
        nothing = dict.fromkeys((*names, "PricingUnit", "SkuId", "SkuMeter", "SkuPriceId"))
        if self.meter is None or self.quantity is None:
            return nothing
        are_tokens = self.meter != "Requests"
        consumed = Decimal(self.quantity)
        sku = f"{self.provider}/{self.model}/{self.meter}"
        return nothing | {
            "ConsumedQuantity": consumed,
            "ConsumedUnit": "Tokens" if are_tokens else "Requests",
            "PricingCategory": "Standard",
            "PricingQuantity": consumed / _PRICED_TOKENS if are_tokens else consumed,
            "PricingUnit": f"{_PRICED_TOKENS} Tokens" if are_tokens else "Requests",
            "SkuId": sku,
            "SkuMeter": self.meter,
            "SkuPriceId": sku,
        }


def shares(microcents: int, weights: Iterable[int]) -> list[int]:
    """The amount in shares by weight; the greatest share takes what rounding leaves.

    The shares' sum is the amount. Without any weight, all shares are 0.
    """
    weighed = list(weights)
    total = sum(weighed)
    if not total:
        return [0] * len(weighed)
    parts = [microcents * weight // total for weight in weighed]
    parts[weighed.index(max(weighed))] += microcents - sum(parts)
    return parts


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
