"""The targets of these figures (design: ingest and totals)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A bound that a figure should keep."""

    bound: float
    unit: str = ""
    at_least: bool = True
    # Where the target is about so many rows: fewer can't reach it.
    rows: int = 0

    def reached(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def verdict(self, value: float, *, rows: int = 0) -> str:
        """The bound and whether the value, over so many rows, keeps it, with rich's markup."""
        if rows < self.rows:
            return f"{self} at {self.rows:,} rows"
        word = "[green]reached[/]" if self.reached(value) else "[red]NOT reached[/]"
        return f"{self}: {word}"

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return " ".join(filter(None, (sign, f"{self.bound:,g}", self.unit)))


STATEMENT_BESIDE_COPY = {500: Target(0.60, "x")}
# What totals' guards may cost ingest.
BESIDE_UNGUARDED = Target(0.95, "x")
EVENTS_A_SECOND = {500: Target(25_000, "/s"), 50: Target(10_000, "/s"), 1: Target(700, "/s")}
BESIDE_DRF = {500: Target(6, "x")}
FILLED_BESIDE_FRESH = Target(1.7, "x", at_least=False, rows=12_000_000)
THIRTEENTH_BESIDE_FIRST = Target(1.05, "x", at_least=False)
TOTALS_READ = Target(0.3, "ms", at_least=False)
CHECKS_A_SECOND = Target(900, "/s")
CHECK_P50 = Target(1.5, "ms", at_least=False)
CHECK_P99 = Target(10, "ms", at_least=False)
# Ruling F5b: a check beside 10,000 live holds of its integration.
BESIDE_RUNNING_CALLS = Target(1.5, "x", at_least=False)
# A check with eight limits at scopes beside one with none, and ingest without them beside with them.
BESIDE_SCOPES = Target(1.3, "x", at_least=False)
INGEST_WITH_SCOPES = Target(0.85, "x")
# How much longer a batch of 1,000 takes that two hundred limits look at.
INGEST_WITH_MANY_SCOPES = Target(3, "x", at_least=False)
BESIDE_PEERS = Target(100, "x")
# Of the SDK, durable and in memory.
SDK_ADDED = {"durable": Target(10, "us", at_least=False), "memory": Target(4, "us", at_least=False)}
SDK_BESIDE_BEST_PEER = Target(18, "x")
# What an enforced call adds, of what a governed call adds.
SDK_ENFORCED = Target(1.3, "x", at_least=False)
LEASED_DECISION = Target(5, "us", at_least=False)
# What an event loop may be kept from other tasks by a call that is checked before.
LOOP_TURN = Target(1, "ms", at_least=False)
SDK_P99 = Target(150, "us", at_least=False)
SDK_MALLOCS = {"durable": Target(16, at_least=False), "memory": Target(11, at_least=False)}
SDK_BACKGROUND = Target(15, "us", at_least=False)
SDK_CHUNK = Target(200, "ns", at_least=False)
SDK_IMPORT = Target(1, "ms", at_least=False)
SDK_EXIT = Target(1, "s", at_least=False)
SDK_LOST = Target(0, at_least=False)
# Reads of API and console over 10 million rows of evidence.
READ_P95 = Target(300, "ms", at_least=False)
ROLLUP_OF_A_DAY = Target(1, "s", at_least=False, rows=1_000_000)
# A scrape of all series of 1,000 integrations, over HTTP.
SCRAPE_P99 = Target(250, "ms", at_least=False)
