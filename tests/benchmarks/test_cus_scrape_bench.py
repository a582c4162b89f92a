"""The command that measures scrapes: what its figures rest on, not how fast anything is."""

import subprocess
import sys

from tests.conftest import ROOT


def test_a_small_run_prints_the_series_that_it_scraped() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.cus_scrape", "--integrations", "3", "--rounds", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert "Scrapes of /metrics" in ran.stdout, ran.stderr
    (row,) = [line.split("│") for line in ran.stdout.splitlines() if line.startswith("│ 3 ")]
    # About a hundred for each integration: all kinds of series are there.
    assert int(row[2].strip()) > 300
