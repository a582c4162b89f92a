"""Text of a stream so far, kept until its end only to be counted, if the provider does not count it."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from aos_sdk.cus_counting.classes import remember
from aos_sdk.cus_usage import GROQ, CusStreamUsage

Texts = list[str]
Reader = Callable[[Any, Texts, CusStreamUsage], None]

_DELTA_TEXTS: Final = ("text", "partial_json", "thinking")

# How to read the events of a class, remembered.
_readers: dict[type, Reader] = {}


def read_events(events: Iterable[Any], texts: Texts, usage: CusStreamUsage) -> None:
    """Add what these chunks or events of a provider's stream say to `texts`, and what they report
    to `usage`.
    """
    for event in events:
        kind = type(event)
        reader = _readers.get(kind) or _learn(kind)
        try:
            reader(event, texts, usage)
        except (AttributeError, KeyError, TypeError):
            # Gateways send chunks that no provider does; the others say what they say all the same.
            continue


def gather_json_text(event: Any, texts: Texts) -> None:
    """The same of an event as it comes over the wire."""
    if not isinstance(event, dict):
        return
    for choice in _dicts(event.get("choices")):
        delta = choice.get("delta")
        _keep(choice.get("text"), texts)
        if isinstance(delta, dict):
            _keep(delta.get("content"), texts)
            _keep(delta.get("refusal"), texts)
            for call in _dicts(delta.get("tool_calls")):
                function = call.get("function") or {}
                _keep(function.get("name"), texts)
                _keep(function.get("arguments"), texts)
    delta = event.get("delta")
    _keep(delta, texts)
    if isinstance(delta, dict):
        _keep_deltas(delta, texts)


def _dicts(things: Any) -> list[dict[str, Any]]:
    if not isinstance(things, list):
        return []
    return [thing for thing in things if isinstance(thing, dict)]


def _learn(kind: type) -> Reader:
    fields = getattr(kind, "model_fields", None) or ()
    reader = _chunk if "choices" in fields else _delta if "delta" in fields else _other
    return remember(_readers, kind, reader)


def _chunk(chunk: Any, texts: Texts, usage: CusStreamUsage) -> None:
    # By the objects' own dictionaries: this is done for each chunk of each stream.
    fields = chunk.__dict__
    if fields.get("model"):
        usage.named = chunk
    if fields.get("usage") is not None or ((more := chunk.__pydantic_extra__) and GROQ in more):
        usage.read(chunk)
    for choice in fields["choices"] or ():
        fields = choice.__dict__
        if (delta := fields.get("delta")) is None:  # completions of the old kind, Azure's filters
            _keep(fields.get("text"), texts)
            continue
        fields = delta.__dict__
        if type(content := fields.get("content")) is str:
            texts.append(content)
        if fields.get("refusal") or fields.get("tool_calls"):
            _keep(fields.get("refusal"), texts)
            for call in fields.get("tool_calls") or ():
                _keep(getattr(call.function, "name", None), texts)
                _keep(getattr(call.function, "arguments", None), texts)


def _other(event: Any, _: Texts, usage: CusStreamUsage) -> None:
    usage.add(event)


def _delta(event: Any, texts: Texts, usage: CusStreamUsage) -> None:
    usage.add(event)
    delta = event.__dict__["delta"]
    if isinstance(delta, str):
        texts.append(delta)
        return
    # Not by attribute: an AttributeError takes a microsecond each.
    _keep_deltas(delta.__dict__, texts)
    if delta.__pydantic_extra__:  # of a kind that this version of the package does not know
        _keep_deltas(delta.__pydantic_extra__, texts)


def _keep_deltas(fields: dict[str, Any], texts: Texts) -> None:
    for name in _DELTA_TEXTS:
        if text := fields.get(name):
            _keep(text, texts)


def _keep(text: Any, texts: Texts) -> None:
    if text and isinstance(text, str):
        texts.append(text)
