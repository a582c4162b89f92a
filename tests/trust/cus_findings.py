"""What a run found that must not be."""

from dataclasses import dataclass, field
from typing import Final

# More of them tell no more.
_MOST: Final = 20


@dataclass
class Findings:
    """The findings of a run, in the order in which they came."""

    findings: list[str] = field(default_factory=list)

    def find(self, what: str) -> None:
        """Note it, unless there is plenty already."""
        if len(self.findings) < _MOST:
            self.findings.append(what)
