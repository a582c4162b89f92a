"""A local count where the provider gave none: a stream without usage, one that broke off (T2)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aos_sdk.cus_message_tokens import count_message_tokens
from aos_sdk.cus_token_counter import count_tokens, estimate_tokens, ready_to_count

# Counting is on the caller's time, so longer texts are estimated by their length: up to this many
# characters take a few milliseconds at most.
MAX_COUNTED_CHARACTERS: Final = 65_536
_MAX_DEPTH: Final = 20
# Texts of a request that are no text to the model: images and files.
_DATA_KEYS: Final = frozenset({"data", "file_data", "image_url", "url", "b64_json"})


def estimate_text(text: str, model: str) -> int:
    """The tokens that a stream has answered so far."""
    if not text:
        return 0
    if len(text) > MAX_COUNTED_CHARACTERS or not ready_to_count(model):
        return estimate_tokens(text)
    return count_tokens(text, model)


def estimate_prompt(arguments: Mapping[str, Any], model: str) -> int:
    """The tokens of what a call sends: chat completions, completions, responses or messages."""
    messages = _messages(arguments)
    tools = arguments.get("tools")
    offered = list(tools) if isinstance(tools, list | tuple) else []
    characters = _characters([messages, offered], 0)
    if characters > MAX_COUNTED_CHARACTERS or not ready_to_count(model):
        return max(1, characters // 4)
    return count_message_tokens(messages, model, offered)


def _messages(arguments: Mapping[str, Any]) -> list[Any]:
    messages: list[Any] = []
    for name in ("system", "instructions"):
        if isinstance(text := arguments.get(name), str | list):
            messages.append({"role": "system", "content": text})
    for name in ("messages", "input", "prompt"):
        content = arguments.get(name)
        if isinstance(content, str):
            messages.append({"role": "user", "content": content})
        elif isinstance(content, list | tuple):
            messages.extend(_message(part) for part in content)
    return messages


def _message(part: Any) -> Any:
    return {"role": "user", "content": part} if isinstance(part, str) else part


def _characters(thing: Any, depth: int) -> int:
    if isinstance(thing, str):
        return len(thing)
    if depth > _MAX_DEPTH:
        return 0
    if isinstance(thing, Mapping):
        parts: Iterable[Any] = [value for name, value in thing.items() if name not in _DATA_KEYS]
    elif isinstance(thing, list | tuple):
        parts = thing
    else:
        parts = _dumped(thing)
    return sum(_characters(value, depth + 1) for value in parts)


def _dumped(thing: Any) -> Iterable[Any]:
    dump = getattr(thing, "model_dump", None)
    return (dump(exclude_none=True),) if callable(dump) else ()
