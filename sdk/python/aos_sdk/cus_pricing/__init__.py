"""Prices: the table of models, and the cost of a call at a model's rates. `cus_cost` is the door.

The names here had this path when the room was one module; pickles of that time name it.
"""

from aos_sdk.cus_pricing.rates import CusCostParts, CusModelPricing, CusTokenUsage

__all__ = ["CusCostParts", "CusModelPricing", "CusTokenUsage"]
