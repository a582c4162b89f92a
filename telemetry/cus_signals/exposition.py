"""Prometheus' text format, written directly: its library takes ten times as long for many series."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Value = int | float | str
# SQL: the integrations that have counters. Those of a deleted one end a day later, because its last
# counts were scraped by then.
SHOWN: Final = (
    "(integration.deleted_at IS NULL OR integration.deleted_at > now() - interval '1 day')"
)
_GZIP: Final = 31  # what zlib calls a gzip stream with the largest window
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

    def add_all(
        self, labels: Iterable[str], values: Iterable[Value | None], also: str = ""
    ) -> None:
        """Add a series for each value that is not None. `also` are further labels of all of them.

        Many series at once, because there are a hundred thousand of them.
        """
        self.lines += self.lines_of(labels, values, also)

    def lines_of(
        self, labels: Iterable[str], values: Iterable[Value | None], also: str = "", part: str = ""
    ) -> list[str]:
        """The lines that `add_all` adds; of a part of a histogram: `_bucket`, `_sum` or `_count`."""
        start, end = f"{self.name}{part}{{", f"{also}}} "
        return [
            f"{start}{whose}{end}{value}"
            for whose, value in zip(labels, values, strict=True)
            if value is not None
        ]


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
    return "".join(texts_of(families))


def texts_of(families: Iterable[CusFamily]) -> Iterator[str]:
    """The page of these families, in parts: as a whole it has many megabytes."""
    for one in families:
        if one.lines:
            yield "\n".join((one.head, *one.lines, ""))


def compressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts as one gzip stream, at the level that takes the least time."""
    stream = zlib.compressobj(1, wbits=_GZIP)
    for part in parts:
        yield stream.compress(part)
    yield stream.flush()


def dollars(microcents: int) -> str:
    """An amount in dollars, exactly."""
    sign = "-" if microcents < 0 else ""
    whole, rest = divmod(abs(microcents), 100_000_000)
    return f"{sign}{whole}.{rest:08d}"
