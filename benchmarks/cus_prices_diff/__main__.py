"""`make prices-diff`: each price that differs from the newest collections', with its explanation."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain

from rich.console import Console
from rich.table import Table

from benchmarks.cus_prices_diff.explanations import explanation_of, unused
from benchmarks.cus_prices_diff.points import Difference, Stated, as_ours, differences
from benchmarks.cus_prices_diff.sources import (
    SourceMissing,
    genai_prices,
    install_newest,
    litellm_prices,
    versions,
)


def main() -> int:
    """0 if every difference is explained."""
    console = Console()
    try:
        install_newest()
    except SourceMissing as reason:
        console.print(f"[red]{reason}[/]")
        return 2
    console.print("Compared:", ", ".join(f"{name} {at}" for name, at in versions().items()))
    found = [(one, explanation_of(one)) for one in differences(_stated(), datetime.now(UTC))]
    missing = [one for one, why in found if why is None]
    console.print(_table(found))
    for explanation in unused(one for one, _ in found):
        console.print(f"[yellow]No difference needs this explanation any more: {explanation}[/]")
    console.print(f"{len(found):,} prices differ, {len(missing):,} without an explanation.")
    return 1 if missing else 0


def _stated() -> Iterator[Stated]:
    return as_ours(chain(genai_prices(), litellm_prices()))


def _table(found: list[tuple[Difference, str | None]]) -> Table:
    table = Table("price", "ours", "theirs", "of", "because")
    for (stated, ours), why in sorted(found, key=lambda pair: (pair[1] is not None, pair[0])):
        table.add_row(
            str(stated.point),
            "none" if ours is None else f"{ours.normalize():f}",
            f"{stated.dollars.normalize():f}",
            stated.source,
            why or "[red]NOT EXPLAINED[/]",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
