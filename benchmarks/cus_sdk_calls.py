"""The cost that each contestant adds to a call and to a chunk, in the caller's own thread."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.cus_report import Section
from benchmarks.cus_sdk_contestants import Contestant
from benchmarks.cus_sdk_field import Field, Figures, Measured, field_of
from benchmarks.cus_sdk_mallocs import preloaded
from benchmarks.cus_targets import (
    SDK_ADDED,
    SDK_BACKGROUND,
    SDK_BESIDE_BEST_PEER,
    SDK_CHUNK,
    SDK_ENFORCED,
    SDK_MALLOCS,
    SDK_P99,
    Target,
)

_OURS = ("durable", "memory")
TARGET_COLUMNS = ("figure", "ours, durable", "target", "ours, in memory", "target")


@dataclass(frozen=True)
class CallSizes:
    """How much is measured. Peers take ten times as long for a call, so they make fewer."""

    rounds: int
    calls: int
    peer_calls: int
    mallocs: int
    chunk_rounds: int
    chunks: int
    peer_chunks: int


def numbers(contestants: Sequence[Contestant], own: int, peers: int) -> dict[str, int]:
    """How many of something each contestant is asked for in a turn."""
    return {one.name: peers if one.is_peer else own for one in contestants}


def measure_calls(
    field: Field, contestants: Sequence[Contestant], sizes: CallSizes
) -> list[Section]:
    """Time, latency, memory and background work of a call."""
    field.rounds("calls", numbers(contestants, sizes.calls, sizes.peer_calls), sizes.rounds)
    mallocs, notes = added_mallocs([one.contestant for one in field.taking_part], sizes.mallocs)
    section = Section(
        f"Calls: median of {sizes.rounds} shuffled rounds, bare and governed alternating in a process",
        (
            *("contestant", "bare us", "added us", "of bare", "p99 us", "over null"),
            *("mallocs", "background us", "+RSS MiB", "received"),
        ),
    )
    for measured in field.taking_part:
        section.rows.append(_row(field, measured, mallocs.get(measured.contestant.name)))
    section.notes = [
        "added: the caller's thread's processor time. background: all other of the process', an event.",
        "p99: wall time. over null: less the empty patch's of the same round. +RSS: over bare's.",
        *notes,
        *field.notes,
    ]
    return [section, _targets(field, mallocs)]


def added_mallocs(
    contestants: Sequence[Contestant], calls: int
) -> tuple[dict[str, float], Sequence[str]]:
    """The mallocs that each adds to a call, in processes that do nothing else."""
    with tempfile.TemporaryDirectory(prefix="cus-bench-sdk-") as folder:
        preload = preloaded(Path(folder))
        if not preload:
            return {}, ("Mallocs are not counted: there is no C compiler here.",)
        with field_of(contestants, preload) as field:
            field.rounds("mallocs", numbers(contestants, calls, calls), 1)
            found = {
                measured.contestant.name: measured.told["mallocs"][0]["added"]
                for measured in field.taking_part
            }
            return found, field.notes


def _all(measured: Measured, order: str, name: str) -> list[float]:
    """A figure of all blocks of all rounds."""
    return [value for figures in measured.told[order] for value in figures[name]]


def _added_us(measured: Measured) -> float:
    return median(_all(measured, "calls", "added_us"))


def _median(measured: Measured, name: str) -> float:
    values: list[float] = [figures[name] for figures in measured.told["calls"]]
    return median(values)


def _over(field: Field, measured: Measured, other: str, name: str) -> float | None:
    """The median of the differences within the rounds."""
    beside = field.get(other)
    if beside is None:
        return None

    def less(one: Figures, two: Figures) -> float:
        value: float = one[name] - two[name]
        return value

    pairs = zip(measured.told["calls"], beside.told["calls"], strict=True)
    return median(less(one, two) for one, two in pairs)


def _row(field: Field, measured: Measured, mallocs: float | None) -> list[str]:
    bare, added = median(_all(measured, "calls", "bare_us")), _added_us(measured)
    return [
        measured.contestant.title,
        f"{bare:,.0f}",
        f"{added:,.1f}",
        f"{(bare + added) / bare:.2f} x",
        f"{_median(measured, 'p99_us'):,.0f}",
        _text(_over(field, measured, "null", "p99_us"), ",.0f"),
        _text(mallocs, "+,.0f"),
        f"{_median(measured, 'background_us'):,.1f}",
        _text(_over(field, measured, "bare", "rss_mib"), "+,.1f"),
        measured.received,
    ]


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def target_row(
    figure: str, value: Callable[[str], float | None], target: Callable[[str], Target]
) -> list[str]:
    """A figure of ours in both modes, each with its verdict."""
    cells = [figure]
    for name in _OURS:
        found = value(name)
        cells += ["-", str(target(name))]
        if found is not None:
            cells[-2:] = [f"{found:,.1f}", target(name).verdict(found)]
    return cells


def _targets(field: Field, mallocs: dict[str, float]) -> Section:
    best = min(field.peers, key=_added_us, default=None)

    def of_ours(take: Callable[[Measured], float | None]) -> Callable[[str], float | None]:
        def value(name: str) -> float | None:
            measured = field.get(name)
            return take(measured) if measured is not None else None

        return value

    def beside_best(measured: Measured) -> float | None:
        # Take the clock's resolution for smaller values: otherwise a ratio could be infinite.
        return _added_us(best) / max(_added_us(measured), 0.1) if best is not None else None

    beside = (
        f"best peer ({best.contestant.title}) beside it, x" if best else "best peer beside it, x"
    )
    section = Section("Calls, beside the targets", TARGET_COLUMNS)
    section.rows = [
        target_row("added us", of_ours(_added_us), SDK_ADDED.__getitem__),
        target_row(beside, of_ours(beside_best), lambda _: SDK_BESIDE_BEST_PEER),
        target_row(
            "p99 over null us",
            of_ours(lambda measured: _over(field, measured, "null", "p99_us")),
            lambda _: SDK_P99,
        ),
        target_row("mallocs", mallocs.get, SDK_MALLOCS.__getitem__),
        target_row(
            "background us an event",
            of_ours(lambda measured: _median(measured, "background_us")),
            lambda _: SDK_BACKGROUND,
        ),
    ]
    durable, leased = field.get("durable"), field.get("leased")
    if durable is not None and leased is not None:
        ratio = _added_us(leased) / max(_added_us(durable), 0.1)
        section.notes.append(
            f"A call under a limit adds {_added_us(leased):,.1f} us, of what one without adds "
            f"{SDK_ENFORCED.verdict(ratio)}."
        )
    return section


def measure_chunks(
    field: Field, contestants: Sequence[Contestant], sizes: CallSizes
) -> list[Section]:
    """What a chunk more of a stream costs."""
    field.rounds(
        "chunks", numbers(contestants, sizes.chunks, sizes.peer_chunks), sizes.chunk_rounds
    )
    section = Section(
        f"Chunks of a stream: long streams less short ones, median of {sizes.chunk_rounds} rounds",
        ("contestant", "bare ns", "added ns", "target", "Anthropic's: bare", "added", "target"),
    )
    for measured in field.taking_part:
        row = [measured.contestant.title, *_a_chunk(measured), *_a_chunk(measured, "anthropic_")]
        section.rows.append(row)
    section.notes = ["Peers are measured on OpenAI's client alone.", *field.notes]
    return [section]


def _a_chunk(measured: Measured, client: str = "") -> list[str]:
    """Bare, added, and the verdict on ours; of nothing, where this client was not measured."""
    if f"{client}added_ns" not in measured.told["chunks"][0]:
        return ["-", "-", ""]
    bare, added = (
        median(_all(measured, "chunks", f"{client}{name}_ns")) for name in ("bare", "added")
    )
    verdict = SDK_CHUNK.verdict(added) if measured.contestant.name in _OURS else ""
    return [f"{bare:,.0f}", f"{added:,.0f}", verdict]
