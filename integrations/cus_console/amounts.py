"""Amounts of money as the console writes them: US dollars."""

from decimal import Decimal

_MICROCENTS_PER_DOLLAR = 100_000_000


def exact_dollars(microcents: int) -> str:
    """An amount to the microcent."""
    return (
        f"{'-' if microcents < 0 else ''}${Decimal(abs(microcents)) / _MICROCENTS_PER_DOLLAR:,.8f}"
    )


def dollars(microcents: int) -> str:
    """An amount to the cent, except for what would then seem to be nothing."""
    if microcents and abs(microcents) < _MICROCENTS_PER_DOLLAR // 100:
        return exact_dollars(microcents)
    return (
        f"{'-' if microcents < 0 else ''}${Decimal(abs(microcents)) / _MICROCENTS_PER_DOLLAR:,.2f}"
    )
