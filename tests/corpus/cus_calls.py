"""A call of the corpus: where it goes, what is asked, what comes back, and what is billed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

# In place of a sum: nobody knows what the call used (M5b), or nobody knows the model's price (M5).
UNMEASURED: Final = "unmeasured"
UNPRICED: Final = "unpriced"
PROMPT: Final = "How many angles has a circle?"
TEXT: Final = "It has none at all."


@dataclass(frozen=True)
class Place:
    """Where a call goes: a client's kind and address, and what a record says of them."""

    client: str
    address: str
    provider: str
    region: str | None = None


@dataclass(frozen=True)
class Events:
    """A stream, by its events in order."""

    events: tuple[Any, ...]


@dataclass(frozen=True)
class Lines:
    """A file of results, by its lines in order."""

    lines: tuple[Any, ...]


@dataclass(frozen=True)
class Refusal:
    """An answer with an HTTP status of failure."""

    status: int


@dataclass(frozen=True)
class Silence:
    """No answer: the client gives up waiting."""


@dataclass(frozen=True)
class Call:
    """One call. `bills` is a sum in microcents, UNMEASURED or UNPRICED, by the rules on `page`.

    `steps` are the methods that the program calls, with their arguments; `answers` are what the
    provider sends, one for each HTTP request. `model` is the model that answered. `pair` names a
    call that is made whole and streamed, and is billed the same both ways. A call whose answer
    `is_silent` tells no usage: to store it as unmeasured is as right. `unpriced` is a unit that is
    billed by what no answer tells: its row must name the unit, and costs what is known.
    """

    name: str
    place: Place
    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    answers: tuple[Any, ...]
    model: str
    bills: str
    page: str
    pair: str | None = None
    is_silent: bool = False
    unpriced: str | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether the program iterates over what the last step returns."""
        return isinstance(self.answers[-1], Events | Lines)


def whole_and_streamed(call: Call, events: Events, asks: Mapping[str, Any]) -> Iterator[Call]:
    """A call made whole, and the same call streamed: `asks` is what asks for the stream."""
    ((path, asked),) = call.steps
    yield replace(call, pair=call.name)
    yield replace(
        call,
        name=f"{call.name}, streamed",
        steps=((path, {**asked, "stream": True, **asks}),),
        answers=(events,),
        pair=call.name,
    )
