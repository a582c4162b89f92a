"""Records as no honest program sends them, and an oracle that says which can be counted (E3a).

The oracle shares nothing with the decoder: a record is made of fields whose meaning is known
here because it was put there, so what must become of it needs no parsing.
"""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

INT32_MAX = 2**31 - 1
_DEPTH = 10_000


@dataclass(frozen=True)
class Value:
    """A JSON text, and what it means: an int, a str, or for anything else `...`.

    `clear` is False where the text is no proper UTF-8, so that it may be read or refused.
    """

    text: bytes
    meaning: Any = ...
    clear: bool = True


def value_of(content: Any) -> Value:
    """The JSON of a Python value, with NUL and surrogates as escapes."""
    text = json.dumps(content)
    # Two halves of a surrogate pair, put side by side, mean one character.
    meant = json.loads(text) if isinstance(content, str) else content
    plain = content is None or type(content) in (int, str)
    return Value(text.encode(), meant if plain else ...)


Fields = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Record:
    """A record by its fields in order, a name perhaps twice; `fields` is None for no object."""

    fields: Fields | None
    raw: bytes

    @classmethod
    def of(cls, fields: Sequence[tuple[str, Value]]) -> "Record":
        body = b", ".join(_key(name) + b": " + value.text for name, value in fields)
        return cls(tuple(fields), b"{" + body + b"}")

    def get(self, name: str) -> Value:
        """What the last field of that name says: JSON's readers take the last."""
        return dict(self.fields or ()).get(name, _NULL)

    @property
    def call_id(self) -> str | None:
        """The call id, if it is one."""
        meaning = self.get("call_id").meaning
        return meaning if _is_call_id(meaning) else None

    @property
    def clear(self) -> bool:
        """Whether what must become of it is beyond doubt."""
        return all(self.get(name).clear for name in _COUNTED)

    def faults(self, integration_id: str) -> set[str | None]:
        """The fields for which it can't be counted; none for one that must be stored."""
        if self.fields is None:
            return {None}
        return {name for name in _COUNTED if not self._can_be_counted(name, integration_id)}

    def fact(self) -> tuple[Any, ...]:
        """What is stored of it and can be compared: tokens in and out."""
        return self.get("tokens_in").meaning, self.get("tokens_out").meaning

    def _can_be_counted(self, name: str, integration_id: str) -> bool:
        meaning = self.get(name).meaning
        if name == "call_id":
            return _is_call_id(meaning)
        if name == "model":
            return _is_model(meaning)
        if name == "integration_id":
            return meaning is None or meaning == integration_id
        if meaning is None:
            return name not in ("tokens_in", "tokens_out")
        return type(meaning) is int and 0 <= meaning <= INT32_MAX


def _is_call_id(meaning: Any) -> bool:
    return (
        isinstance(meaning, str)
        and 1 <= len(meaning) <= 100
        and all("!" <= character <= "~" for character in meaning)
    )


def _is_model(meaning: Any) -> bool:
    return (
        isinstance(meaning, str)
        and 1 <= len(meaning) <= 100
        and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in meaning)
    )


def _key(name: str) -> bytes:
    return json.dumps(name).encode()


_NULL = Value(b"null", None)
_TOKENS = (
    "tokens_in",
    "tokens_out",
    "tokens_cached",
    "tokens_cache_write",
    "tokens_cache_write_1h",
    "tokens_reasoning",
    "tokens_audio_in",
    "tokens_audio_out",
    "tokens_image_in",
    "tokens_total",
)
_COUNTED = ("call_id", "model", "integration_id", "cost_cents", *_TOKENS)
_DECORATION = (
    "timestamp",
    "provider",
    "session_id",
    "agent_id",
    "latency_ms",
    "policy_result",
    "error_code",
    "error_message",
    "metadata",
    "operation",
    "stream",
    "service_tier",
    "billed_units",
    "pricing_version",
    "model_requested",
    "host",
    "region",
    "usage_known",
    "response_id",
    "provider_request_id",
    "provider_project",
    "provider_key_hint",
    "provider_cost_microcents",
    "turns",
    "end_user",
    "tags",
    "process_id",
    "sequence",
    "lease_id",
    "reserved",
    "decision",
    "degraded",
    "from_the_future",
    "call_id\0",
    "\ud800",
    "",
)
FIELDS = (*_COUNTED, *_DECORATION)

_NUMBERS = (
    *(Value(text.encode(), int(text)) for text in ("0", "-0", "1", "-1", "2147483647")),
    *(value_of(n) for n in (2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1)),
    Value(b"9" * 6_000),
    Value(b"-" + b"9" * 6_000),
    *(
        Value(text)
        for text in (b"1.0", b"0.5", b"1e2", b"1e400", b"-1e400", b"1e-400", b"NaN", b"-Infinity")
    ),
)
_TEXTS = (
    "",
    " ",
    "5",
    "\u0665",
    "\uff11\uff12",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "\U0001f600",
    "\u202e\ufeff",
    "line\nline\r\n",
    "x" * 50,
    "x" * 51,
    "x" * 100,
    "x" * 101,
    "x" * 1_001,
    "\U0001f600" * 101,
    "x" * 20_000,
    "[{" * 3_000,
    "true",
    "null",
    "1e400",
    "blocked",
    "Allowed",
    "chat",
    "%s%n{0}{{}}$1",
    "'; DROP TABLE cus_llm_usage; --",
    "<script>alert(1)</script>",
    "\\u0000",
    "sk-abcdefghijklmnop",
    "00000000-0000-0000-0000-000000000000",
    "1970-01-01T00:00:00Z",
    "2100-01-01T00:00:00Z",
    "2026-01-01T00:00:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-12-31T23:59:60Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "2026-01-01T00:00:00+99:99",
    "+12026-01-01T00:00:00Z",
    "1767225600",
)
_SHAPES = (
    *(Value(text) for text in (b"true", b"false", b"[]", b"[null]", b"{}", b'{"a": 1, "a": 2}')),
    Value(b"[" * _DEPTH + b"]" * _DEPTH),
    Value(b'{"a":' * _DEPTH + b"1" + b"}" * _DEPTH),
    Value(b'{"a": ' + b"[" * 31 + b"]" * 31 + b"}"),
    Value(b'{"\\u0000": 1}'),
    Value(b'{"\\ud800": "\\udfff"}'),
    Value(b'{"a": "b\\u0000"}'),
    Value(b'{"a": 1e400}'),
    Value(b'{"a": ' + b"9" * 6_000 + b"}"),
    Value(b'{"cents": -1, "tokens": 1e400, "microcents": true}'),
    Value(b'{"cents": 9223372036854775807, "tokens": 9223372036854775808}'),
    Value(b'{"images": 2147483648, "seconds": -1, "searches": "5"}'),
    value_of({str(n): n for n in range(2_000)}),
    value_of({"a": "x" * 17_000}),
    value_of(["x"] * 3_000),
)
_BROKEN_UTF8 = tuple(
    Value(text, "\ufffd", clear=False)
    for text in (b'"caf\xe9"', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf5\x80\x80\x80"')
)
VALUES = (_NULL, *_NUMBERS, *map(value_of, _TEXTS), *_SHAPES, *_BROKEN_UTF8)

_NO_RECORDS = (
    b"null",
    b"true",
    b"5",
    b'"a record"',
    b"[]",
    b"1e400",
    b"[" * _DEPTH + b"]" * _DEPTH,
)


class Hostility:
    """Makes hostile records without end, the same ones for the same seed."""

    def __init__(self, seed: int, now: str) -> None:
        self._rng = random.Random(seed)
        self._numbers = itertools.count()
        self._prefix = f"h{seed}-"
        self._now = now

    def good(self) -> list[tuple[str, Value]]:
        """The fields of a record that has nothing wrong with it."""
        values = {
            "call_id": f"{self._prefix}{next(self._numbers)}",
            "model": "gpt-4o",
            "tokens_in": self._rng.randrange(5_000),
            "tokens_out": self._rng.randrange(500),
            "cost_cents": self._rng.randrange(9),
            "timestamp": self._now,
        }
        return [(name, value_of(value)) for name, value in values.items()]

    def with_fields(self, hostile: Sequence[tuple[str, Value]]) -> Record:
        """A good record with these fields in place of its own."""
        names = {name for name, _ in hostile}
        return Record.of([field for field in self.good() if field[0] not in names] + [*hostile])

    def table(self) -> Iterator[Record]:
        """Each field with each value, each field missing, each twice, and what is no record."""
        for name, value in itertools.product(FIELDS, VALUES):
            yield self.with_fields([(name, value)])
        for name in FIELDS:
            yield Record.of([field for field in self.good() if field[0] != name])
            for twice in (value_of("5"), value_of(7), _NULL):
                yield Record.of([(name, twice), *self.good()])
                yield Record.of([*self.good(), (name, twice)])
        for raw in _NO_RECORDS:
            yield Record(None, raw)
        yield Record.of([])

    def mixtures(self) -> Iterator[Record]:
        """Records with several hostile fields at random, and replays of them, without end."""
        last: list[Record] = []
        while True:
            record = self._mixture()
            yield record
            last = [*last[-20:], record]
            if self._rng.random() < 0.1:
                yield self._replay(self._rng.choice(last))

    def _mixture(self) -> Record:
        if self._rng.random() < 0.01:
            return Record(None, self._rng.choice(_NO_RECORDS))
        # Mostly decoration, or hardly a record could be counted.
        decoration = self._rng.choices(_DECORATION, k=self._rng.randrange(4))
        counted = self._rng.choices(_COUNTED, k=self._rng.choice((0, 0, 0, 1, 2)))
        hostile = [(name, self._rng.choice(VALUES)) for name in (*decoration, *counted)]
        self._rng.shuffle(hostile)
        return self.with_fields(hostile)

    def _replay(self, record: Record) -> Record:
        if record.fields is None or self._rng.random() < 0.5:
            return record
        altered = value_of(10_000 + self._rng.randrange(1_000))
        return Record.of([*record.fields, ("tokens_out", altered)])
