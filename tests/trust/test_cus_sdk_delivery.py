"""Delivery loses nothing that `report` accepted: a small run of what `make trust-sdk` does."""

from pathlib import Path

import pytest

from tests.trust.cus_sdk_sink import FAULTS
from tests.trust.cus_sdk_windows import CLOCKS, DISKS, FATES, run_campaign

WINDOWS = 20
# One of them has a request of thirty seconds under way at its end. A busy machine may take longer
# than `make trust-sdk` allows for, and far less than that.
EXIT_SECONDS = 10.0


@pytest.mark.timeout(600)
def test_every_accepted_event_is_stored_once_whatever_goes_wrong(tmp_path: Path) -> None:
    result = run_campaign(tmp_path, windows=WINDOWS, seed=1, exit_seconds=EXIT_SECONDS)

    assert result.findings == []
    assert result.windows == WINDOWS
    assert result.seen.keys() >= {*FATES, *DISKS, *FAULTS, *CLOCKS}
    assert result.dropped > 0, "no quota was reached"
    assert result.redelivered > 0, "no answer was lost"
    assert result.slowest_exit > 0, "no exit was timed"
