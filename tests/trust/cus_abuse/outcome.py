"""What an attack came to."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """The figures of one attack, and why the product did not hold, a sentence each."""

    figures: str
    findings: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether the product did what it promises under this attack."""
        return not self.findings


@dataclass(frozen=True)
class Size:
    """How much of the full attack is made.

    Where it is not made `in_full`, no times are judged, since the machine is shared with other
    tests, and nothing waits for jobs.
    """

    scale: float = 1.0
    in_full: bool = True
    say: Callable[[str], None] = lambda _text: None

    def of(self, full: int, least: int = 1) -> int:
        """A number of the full attack, at this size."""
        return max(least, int(full * self.scale))

    def seconds(self, full: float, least: float = 1.0) -> float:
        """A time of the full attack, at this size."""
        return max(least, full * self.scale)
