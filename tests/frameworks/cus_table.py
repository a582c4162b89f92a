"""The table of `docs/sdk.md`: frameworks, the ways by which they call, and what was recorded of each use."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.frameworks.cus_environments import ROOT, pinned
from tests.frameworks.cus_trial import Cell, Trial

DOCUMENT: Final = ROOT / "docs" / "sdk.md"
KNOWN: Final = Path(__file__).with_name("known.json")
COLUMNS: Final = ("plain", "stream", "tools", "structured", "embeddings")
# Each framework, and the package whose release is the framework's.
FRAMEWORKS: Final[Mapping[str, str]] = {
    "langchain": "langchain-core",
    "pydantic-ai": "pydantic-ai-slim",
    "openai-agents": "openai-agents",
    "instructor": "instructor",
    "llama-index": "llama-index-core",
    "litellm": "litellm",
    "dspy": "dspy",
    "smolagents": "smolagents",
    "autogen": "autogen-ext",
    "crewai": "crewai",
    "haystack": "haystack-ai",
}
_BEGIN: Final = "<!-- Made by `make test-frameworks ARGS=--write`. -->"
_END: Final = "<!-- End of the frameworks' table. -->"
_HEAD: Final = f"| framework | calls by | {' | '.join(COLUMNS)} |"
_CLIENTS: Final = ("openai", "anthropic")


@dataclass(frozen=True)
class Known:
    """Why cells of a row are not right, in a sentence for users."""

    framework: str
    row: str
    columns: tuple[str, ...]
    why: str

    def explains(self, framework: str, cell: Cell) -> bool:
        """Whether it is about this cell."""
        place = (self.framework, self.row)
        return place == (framework, cell.row) and cell.column in self.columns


def known() -> list[Known]:
    """The explanations, from their file."""
    found = json.loads(KNOWN.read_text(encoding="utf-8"))
    return [Known(**{**item, "columns": tuple(item["columns"])}) for item in found]


def keep_known(explanations: Iterable[Known]) -> None:
    """Write the explanations' file."""
    text = json.dumps([asdict(item) for item in explanations], indent=2, ensure_ascii=False)
    KNOWN.write_text(f"{text}\n", encoding="utf-8")


def needed(explanations: Iterable[Known], trials: Iterable[Trial]) -> Iterator[Known]:
    """The explanations without the columns that a trial has shown to be right."""
    right = {
        (trial.framework, cell.row, cell.column)
        for trial in trials
        for cell in trial.cells
        if not list(cell.faults())
    }
    for item in explanations:
        columns = tuple(
            column for column in item.columns if (item.framework, item.row, column) not in right
        )
        if columns:
            yield Known(item.framework, item.row, columns, item.why)


def rows_of(trial: Trial) -> Iterator[str]:
    """A framework's rows of the table."""
    rows: dict[str, dict[str, str]] = {}
    for cell in trial.cells:
        rows.setdefault(cell.row, {})[cell.column] = _text_of(cell)
    for row, cells in rows.items():
        yield _row(trial.framework, row, *(cells.get(column, "") for column in COLUMNS))


def table(trials: Iterable[Trial], explanations: Iterable[Known], before: str) -> str:
    """The documentation with this table. Frameworks that were not tried keep their rows of `before`."""
    head, _, rest = before.partition(_BEGIN)
    old, _, tail = rest.partition(_END)
    made = {trial.framework: list(rows_of(trial)) for trial in trials}
    rows = [
        row for framework in FRAMEWORKS for row in made.get(framework) or _rows_in(old, framework)
    ]
    parts = [
        [_HEAD, f"|{' --- |' * (2 + len(COLUMNS))}", *rows],
        [f"Tried with {_versions()}."],
        [f"- {_sentence(item)}" for item in explanations],
    ]
    text = "\n\n".join("\n".join(part) for part in parts if part)
    return f"{head}{_BEGIN}\n\n{text}\n\n{_END}{tail}"


def _text_of(cell: Cell) -> str:
    if list(cell.faults()):
        return f"**{len(cell.recorded)} of {len(cell.told)}**"
    tokens_in = sum(call.tokens_in for call in cell.recorded)
    tokens_out = sum(call.tokens_out for call in cell.recorded)
    return f"{len(cell.recorded)}: {tokens_in:,} + {tokens_out:,}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def _rows_in(old: str, framework: str) -> Iterator[str]:
    return (line for line in old.splitlines() if line.startswith(f"| {framework} |"))


def _versions() -> str:
    return "; ".join(_version(pinned(name), package) for name, package in FRAMEWORKS.items())


def _version(versions: Mapping[str, str], package: str) -> str:
    clients = [f"{client} {versions[client]}" for client in _CLIENTS if client in versions]
    return f"{package} {versions[package]} ({', '.join(clients)})"


def _sentence(item: Known) -> str:
    return f"{item.framework}, {item.row} ({', '.join(item.columns)}): {item.why}"
