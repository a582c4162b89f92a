"""What a request costs, by its path: captured, counted as bypassed, or free."""

from functools import lru_cache
from typing import Final

from aos_sdk.cus_providers.registry import PROVIDERS
from aos_sdk.cus_providers.requests import CusCost, CusRequestTable

_TABLE: Final = CusRequestTable(
    (path.decode() for provider in PROVIDERS for path in provider.paths),
    (kind for provider in PROVIDERS for kind in provider.requests),
)


# Most requests of a program go to a few paths.
@lru_cache(maxsize=256)
def cost_of_request(path: bytes) -> CusCost | None:
    """What a POST to this path of a provider costs; None for a path that the SDK doesn't know."""
    return _TABLE.find(path.decode("ascii", "replace"))
