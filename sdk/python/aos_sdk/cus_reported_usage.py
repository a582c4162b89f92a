"""What a response says of its own usage, in one shape for all providers."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aos_sdk.cus_pricing.rates import CusTokenUsage


class CusReportedUsage(NamedTuple):
    """What a response reports: the fields of `CusTokenUsage`, disjoint in their details, and more.

    `billed_units` is what is billed otherwise than by tokens: `searches`, `file_searches`,
    `containers`, `seconds` of audio. `service_tier` is
    the tier that served the call, as the price table names it. Without `reported` the response
    carries no usage, and its zeros mean nothing. `provider_cost_microcents` is what the response
    says that the call cost, in 10⁻⁶ cent. `turns` are the model turns, where the response tells them
    apart: mappings as `CusUsageRecord.turns` has them, which add up to these tokens.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    tokens_cache_write: int = 0
    tokens_cache_write_1h: int = 0
    tokens_reasoning: int = 0
    tokens_audio_in: int = 0
    tokens_audio_out: int = 0
    tokens_image_in: int = 0
    tokens_total: int | None = None
    billed_units: Mapping[str, int] | None = None
    service_tier: str | None = None
    reported: bool = False
    provider_cost_microcents: int | None = None
    turns: Sequence[Mapping[str, Any]] | None = None

    @property
    def tokens(self) -> CusTokenUsage:
        """The tokens alone, for `price_call`."""
        return CusTokenUsage._make(self[:10])
