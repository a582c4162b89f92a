"""Prometheus' text format, written directly: its library takes ten times as long for many series."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
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
        self._head = f"# HELP {name} {says}\n# TYPE {name} {kind}"
        self._lines: list[Iterable[str]] = []

    def add(self, labels: str, value: Value) -> None:
        """Add a series by its labels, as `labels_of` and `labelled` write them; empty for none."""
        self._lines.append(
            (f"{self.name}{{{labels}}} {value}" if labels else f"{self.name} {value}",)
        )

    def add_all(
        self, labels: Iterable[str], values: Iterable[Value | None], also: str = ""
    ) -> None:
        """Add a series for each value that is not None. `also` are further labels of all of them.

        They are written with the page, because there are a hundred thousand of them.
        """
        self._lines.append(self._lines_of(labels, values, also))

    def add_histograms(
        self, labels: Sequence[str], parts: Iterable[tuple[str, str, Iterable[Value]]]
    ) -> None:
        """Add a histogram for each of the labels, from all of its parts in their order.

        A part is its suffix (`_bucket`, `_sum`, `_count`), its further labels, and its values.
        """
        columns = [self._lines_of(labels, values, also, suffix) for suffix, also, values in parts]
        self._lines.append(chain.from_iterable(zip(*columns, strict=True)))

    def text(self) -> str:
        """The metric as the page has it, once; nothing of a metric without series."""
        lines = list(chain.from_iterable(self._lines))
        return "\n".join((self._head, *lines, "")) if lines else ""

    def _lines_of(
        self, labels: Iterable[str], values: Iterable[Value | None], also: str, suffix: str = ""
    ) -> Iterator[str]:
        start, end = f"{self.name}{suffix}{{", f"{also}}} "
        return (
            f"{start}{whose}{end}{value}"
            for whose, value in zip(labels, values, strict=True)
            if value is not None
        )


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
    """The page of these families."""
    return "".join(family.text() for family in families)


def page_of(families: Iterable[CusFamily], more: bytes, *, gzip: bool) -> bytes:
    """The page of these families and what comes after them, compressed if asked.

    Written by another thread than that which reads the families, and waits for the database.
    """
    stream = zlib.compressobj(1, wbits=_GZIP) if gzip else None

    def written(text: bytes) -> bytes:
        return stream.compress(text) if stream else text

    with ThreadPoolExecutor(1) as writer:
        parts = [writer.submit(lambda one: written(one.text().encode()), one) for one in families]
    parts_and_more = [*(part.result() for part in parts), written(more)]
    return b"".join([*parts_and_more, stream.flush() if stream else b""])


def dollars(microcents: int) -> str:
    """An amount in dollars, exactly."""
    sign = "-" if microcents < 0 else ""
    whole, rest = divmod(abs(microcents), 100_000_000)
    return f"{sign}{whole}.{rest:08d}"
