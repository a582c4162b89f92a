"""Latencies in buckets: percentiles from sums that can be added up."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

# The lower bounds, in milliseconds, of all buckets but the first, which begins at 0. Rows keep
# counts by these bounds for ever: a change of the bounds needs a new column.
BOUNDS_MS = (
    *(10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000),
    *(5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000, 70_000, 100_000, 150_000),
    *(200_000, 300_000),
)
BUCKETS = len(BOUNDS_MS) + 1


def percentile_ms(buckets: Sequence[int], highest_ms: int | None, percent: int) -> int | None:
    """The latency, in milliseconds, that `percent` % of the calls do not exceed; None without calls.

    Calls are taken as spread evenly over their bucket, so the answer is in the same bucket as the
    true percentile, and never above the highest latency.
    """
    reached = list(accumulate(buckets))
    if not reached or not reached[-1] or highest_ms is None:
        return None
    # In hundredths of a call, so that the place stays an integer.
    place = bisect_left(reached, -(-reached[-1] * percent // 100))
    low = BOUNDS_MS[place - 1] if place else 0
    high = min(BOUNDS_MS[place] if place < len(BOUNDS_MS) else highest_ms, highest_ms)
    within = 100 * (reached[place] - buckets[place])
    share = (reached[-1] * percent - within) / (100 * buckets[place])
    return min(round(low + (high - low) * max(share, 0)), highest_ms)
