"""Delivery loses nothing that `report` accepted: a small run of what `make trust-sdk` does."""

from pathlib import Path

import pytest

from tests.trust.cus_sdk_windows import DISKS, FATES, run_campaign

WINDOWS = 16


@pytest.mark.timeout(600)
def test_every_accepted_event_is_stored_once_whatever_goes_wrong(tmp_path: Path) -> None:
    result = run_campaign(tmp_path, windows=WINDOWS, seed=1)

    assert result.findings == []
    assert result.windows == WINDOWS
    assert result.seen.keys() >= {*FATES, *DISKS}
    assert result.dropped > 0, "no quota was reached"
    assert result.redelivered > 0, "no answer was lost"
