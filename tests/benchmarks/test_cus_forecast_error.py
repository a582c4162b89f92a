"""The command that prints the forecast's error beside a naive one."""

from pathlib import Path

import pytest

from aos_project.cus_demo.cus_trace import synthetic_trace
from benchmarks.cus_forecast import errors_after, main, of_an_office, section_of, stretched


def test_weekdays_and_hours_that_repeat_have_no_error_where_the_naive_forecast_has_one() -> None:
    costs = {hour: 1_000 * of_an_office(hour) for hour in stretched(synthetic_trace())}
    for days in (1, 3, 10):
        found = errors_after(days, costs)
        assert found.ours == 0
        assert found.naive > 0


def test_stretching_keeps_the_cost_of_each_call() -> None:
    trace = synthetic_trace()
    twice = stretched(type(trace)("twice", trace.calls * 2))
    assert sum(twice.values()) == 2 * sum(stretched(trace).values()) > 0


def test_the_table_has_both_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "without weekdays" in capsys.readouterr().out
    assert all(" / " in cell for row in section_of(synthetic_trace()).rows for cell in row[1:])


def test_a_file_that_is_no_trace_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--trace", str(tmp_path / "missing.csv")])
    assert "missing.csv" in capsys.readouterr().err
