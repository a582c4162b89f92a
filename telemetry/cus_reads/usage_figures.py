"""Figures of usage as people read them: the same for API and console (rulings M3, M3a, M5b, M9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from aos_sdk.cus_fields import TOKEN_NAMES
from telemetry.cus_analytics.latency import percentile_ms

PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class UsageFigures:
    """Usage of an hour, a day or a group. Cents and microcents are of US dollars.

    Tokens and costs are those of the rows and of their settlements. Costs are as recorded:
    `cost_cents` as reported, `counted_cents` as limits count, `cost_microcents` exact.
    `corrected_microcents` is the exact cost with the corrections that came later. `provisional_…`
    is what budgets count of calls whose usage is still unknown.
    """

    calls: int
    error_calls: int
    blocked_calls: int
    unpriced_calls: int
    unpriced_unit_calls: int
    unmeasured_calls: int
    settled_calls: int
    tokens: dict[str, int]
    cost_cents: int
    counted_cents: int
    cost_microcents: int
    settled_cents: int
    settled_microcents: int
    correction_microcents: int
    provisional_cents: int
    provisional_microcents: int
    provisional_tokens: int
    avg_latency_ms: int | None
    max_latency_ms: int | None
    latency_percentiles_ms: dict[int, int | None]

    @property
    def corrected_microcents(self) -> int:
        """The exact cost as corrected."""
        return self.cost_microcents + self.correction_microcents

    @property
    def rounding_microcents(self) -> int:
        """What rounding adds: what limits in cents count, less the exact cost as recorded."""
        return self.counted_cents * MICROCENTS_PER_CENT - self.cost_microcents

    def as_fields(self) -> dict[str, Any]:
        """All figures by the names that the API has for them."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        percentiles = fields.pop("latency_percentiles_ms")
        return {
            **fields.pop("tokens"),
            **fields,
            "corrected_microcents": self.corrected_microcents,
            "rounding_microcents": self.rounding_microcents,
            **{f"p{percent}_latency_ms": value for percent, value in percentiles.items()},
        }


def usage_figures(sums: Mapping[str, Any]) -> UsageFigures:
    """The figures from sums of stored figures, by the names of `cus_usage_hourly`."""

    def known(name: str) -> int:
        return int(sums[name] + sums[f"settled_{name}"])

    latency_calls = sums["latency_calls"]
    buckets, highest = sums["latency_buckets"] or [], sums["latency_max_ms"]
    return UsageFigures(
        calls=sums["calls"],
        error_calls=sums["errors"],
        blocked_calls=sums["blocked"],
        unpriced_calls=known("unpriced"),
        unpriced_unit_calls=known("unpriced_unit_calls"),
        unmeasured_calls=sums["unmeasured"] - sums["settled"],
        settled_calls=sums["settled"],
        tokens={name: known(name) for name in TOKEN_NAMES},
        cost_cents=known("cost_cents"),
        counted_cents=known("counted_cents"),
        cost_microcents=known("cost_microcents"),
        settled_cents=sums["settled_cost_cents"],
        settled_microcents=sums["settled_cost_microcents"],
        correction_microcents=sums["correction_microcents"],
        provisional_cents=sums["provisional_cents"] - sums["released_cents"],
        provisional_microcents=sums["provisional_microcents"] - sums["released_microcents"],
        provisional_tokens=sums["provisional_tokens"] - sums["released_tokens"],
        avg_latency_ms=round(sums["latency_sum_ms"] / latency_calls) if latency_calls else None,
        max_latency_ms=highest,
        latency_percentiles_ms={
            percent: percentile_ms(buckets, highest, percent) for percent in PERCENTILES
        },
    )
