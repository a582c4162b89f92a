"""Figures as tables: ratios first, absolutes beside them, conditions above."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Section:
    """One table, and the notes under it."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self) -> Table:
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def show(self, console: Console) -> None:
        console.print(self.table())
        for note in self.notes:
            console.print(f"  {note}")
        console.print()


def new_console() -> Console:
    """A console that does not squeeze tables if the output is a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=132)
