"""Prometheus' text format, written directly: its library takes ten times as long for many series."""

from collections.abc import Iterable
from typing import Final

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Value = int | float | str
# SQL: the integrations that have counters. Those of a deleted one end a day later, because its last
# counts were scraped by then.
SHOWN: Final = (
    "(integration.deleted_at IS NULL OR integration.deleted_at > now() - interval '1 day')"
)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class CusFamily:
    """A metric with its series. `kind` is `counter`, `gauge` or `histogram`."""

    def __init__(self, name: str, kind: str, says: str) -> None:
        self.name = name
        self.head = f"# HELP {name} {says}\n# TYPE {name} {kind}"
        self.lines: list[str] = []

    def add(self, labels: str, value: Value) -> None:
        """Add a series by its labels, as `labels_of` and `labelled` write them; empty for none."""
        self.lines.append(f"{self.name}{{{labels}}} {value}" if labels else f"{self.name} {value}")

    def add_part(self, suffix: str, labels: str, value: Value) -> None:
        """Add a part of a histogram: `_bucket`, `_sum` or `_count`."""
        self.lines.append(f"{self.name}{suffix}{{{labels}}} {value}")


def counter(name: str, says: str) -> CusFamily:
    """A counter; its name ends in `_total`."""
    return CusFamily(name, "counter", says)


def gauge(name: str, says: str) -> CusFamily:
    """A gauge, which may fall."""
    return CusFamily(name, "gauge", says)


def escaped(text: str) -> str:
    """A label's value with what the format escapes."""
    return text.translate(_ESCAPES)


def labels_of(tenant_id: str, integration_id: str) -> str:
    """The labels of an integration's series."""
    return f'integration_id="{integration_id}",tenant_id="{tenant_id}"'


def text_of(families: Iterable[CusFamily]) -> str:
    """The page of these families. A family without series is left out."""
    return "".join("\n".join((one.head, *one.lines, "")) for one in families if one.lines)


def dollars(microcents: int) -> str:
    """An amount in dollars, exactly."""
    sign = "-" if microcents < 0 else ""
    whole, rest = divmod(abs(microcents), 100_000_000)
    return f"{sign}{whole}.{rest:08d}"
