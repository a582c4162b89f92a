"""What a provider bills, from a sum that somebody wrote by hand.

This module imports nothing of the product: a fault of the product's arithmetic cannot be here too.
"""

import math
from fractions import Fraction


def microcents(bill: str) -> int:
    """The microcents (millionths of a cent) of `count x price + count x price + …`.

    A price is in microcents a token or a unit: $1 a million tokens is 100 microcents a token.
    The sum is rounded up to the next microcent, once.
    """
    return math.ceil(sum(_product(term) for term in bill.split(" + ")))


def _product(term: str) -> Fraction:
    return math.prod((Fraction(factor) for factor in term.split(" x ")), start=Fraction(1))
