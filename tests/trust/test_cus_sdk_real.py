"""The SDK beside the real product: what is missing is named until it comes."""

from pathlib import Path

import pytest

from tests.cus_prepared_database import PreparedDatabase
from tests.trust.cus_sdk_real import run_real


@pytest.mark.timeout(600)
def test_a_process_killed_before_it_could_send_is_named_until_its_events_arrive(
    tmp_path: Path,
    prepared: PreparedDatabase,
) -> None:
    result = run_real(tmp_path, rounds=1, seed=1, prepared=prepared)

    assert result.findings == []
    assert result.named > 0
