"""What a stream has said so far, kept until its end only to be counted, if nobody else counts it."""

from collections.abc import Callable, Iterable
from typing import Any, Final

Texts = list[str]

_DELTA_TEXTS: Final = ("text", "partial_json", "thinking")

# How to read the events of a class, remembered: most have nothing to say.
_readers: dict[type, Callable[[Any, Texts], None] | None] = {}


def gather_text(events: Iterable[Any], texts: Texts) -> None:
    """Add what these chunks or events of a provider's stream say to `texts`."""
    for event in events:
        kind = type(event)
        reader = _readers[kind] if kind in _readers else _learn(kind)
        if reader is not None:
            reader(event, texts)


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
        for name in _DELTA_TEXTS:
            _keep(delta.get(name), texts)


def _dicts(things: Any) -> list[dict[str, Any]]:
    if not isinstance(things, list):
        return []
    return [thing for thing in things if isinstance(thing, dict)]


def _learn(kind: type) -> Callable[[Any, Texts], None] | None:
    fields = getattr(kind, "model_fields", None) or ()
    reader = _from_choices if "choices" in fields else _from_delta if "delta" in fields else None
    _readers[kind] = reader
    return reader


def _from_choices(chunk: Any, texts: Texts) -> None:
    # By the objects' own dictionaries: this is done for each chunk of each stream.
    for choice in chunk.__dict__["choices"] or ():
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


def _from_delta(event: Any, texts: Texts) -> None:
    delta = event.delta
    if isinstance(delta, str):
        texts.append(delta)
        return
    for name in _DELTA_TEXTS:
        _keep(getattr(delta, name, None), texts)


def _keep(text: Any, texts: Texts) -> None:
    if text and isinstance(text, str):
        texts.append(text)
