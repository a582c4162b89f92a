"""The benchmark of the SDK's delivery works; what it says of speed is for quieter machines."""

import pytest

from benchmarks import cus_sdk_delivery


def test_it_measures_both_modes_and_delivers_everything(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cus_sdk_delivery.run(200, soak=True) == 0
    printed = capsys.readouterr().out
    for row in ("added_us", "p99_us", "mallocs", "background_us", "rss_mib"):
        assert row in printed
