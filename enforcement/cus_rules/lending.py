"""How much of a limit's room a lease gets (rulings F5a and F5c). Pure: amounts in, an amount out.

The figures behind the constants: `make lease-replay`, printed in docs/enforcement.md.
"""

from typing import Final

# All slices that are lent at a time leave at least this part of the room to plain checks: a holder
# of n gets at most 1 / (SHARE x n) of what is free.
SHARE: Final = 2
# A lease that was used up is followed by one that is so many times larger.
GROWTH: Final = 2
# A slice for fewer calls than this is not worth a lease: a plain check decides each call.
LEAST_CALLS: Final = 4
# Without a durable disk, leases of young holders lock at most this part of the room: a program that
# crashes at each start must not lock a budget.
YOUNG_PERCENT: Final = 10


def slice_of(
    room: int, *, holders: int, estimate: int, spent: int | None, young_leased: int | None = None
) -> int:
    """The amount to lend of a limit with `room` left, 0 for none.

    `holders` counts those with a lease, the asking one included. `estimate` is the amount of one
    call, of the limit's unit. `spent` is what the holder set aside of its lease before; None for
    its first. `young_leased` is what young holders without a durable disk have of this limit
    already; None for a holder that is not one of them.
    """
    most = room // (SHARE * max(holders, 1))
    wanted = (
        estimate * LEAST_CALLS if spent is None else max(spent * GROWTH, estimate * LEAST_CALLS)
    )
    lent = min(most, wanted)
    if young_leased is not None:
        lent = min(lent, (room + young_leased) * YOUNG_PERCENT // 100 - young_leased)
    return lent if lent >= estimate * LEAST_CALLS else 0
