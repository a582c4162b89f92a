"""Counting what a call will send: messages, tools and images, by OpenAI's published rules (§12).

OpenAI publishes what it wraps around messages and tools for its chat models; for others the same
is taken as the best guess there is. Texts are counted as `count_tokens` counts them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aos_sdk.cus_counting.image_tokens import image_size, image_tokens, size_of_base64
from aos_sdk.cus_token_counter import encoding_for, estimate_tokens, get_model_info

# Around every message; its author's name, if it has one; and the start of the reply.
_PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
_REPLY: Final = 3
_MAX_DEPTH: Final = 20


class _ToolRules(NamedTuple):
    """What a tool costs beside its texts."""

    function: int
    properties: int = 3
    key: int = 3
    enum: int = -3
    item: int = 3
    end: int = 12


_TOOL_RULES: Final = {"cl100k_base": _ToolRules(function=10)}
_NEWER_TOOL_RULES: Final = _ToolRules(function=7)


def count_message_tokens(
    messages: Iterable[Any], model: str, tools: Sequence[Any] | None = None
) -> int:
    """The tokens of a prompt: its messages, the tools it offers and its images.

    Messages and tools are as the provider's API takes them, OpenAI's or Anthropic's, as mappings
    or as the package's objects. Nothing is fetched: an image given by address counts as a large
    one. It takes as long as `count_tokens` of all the texts: in an event loop, run it in a thread.
    """
    return _Counter(model).prompt(messages, tools or ())


class _Counter:
    """One model's way to count."""

    def __init__(self, model: str) -> None:
        self._info = get_model_info(model)
        encoding = encoding_for(model)
        self._text: Callable[[str], int] = (
            estimate_tokens
            if encoding is None
            else lambda text: len(encoding.encode_ordinary(text))
        )
        self._tool_rules = _TOOL_RULES.get(self._info.tokenizer_name or "", _NEWER_TOOL_RULES)

    def prompt(self, messages: Iterable[Any], tools: Sequence[Any]) -> int:
        total = _REPLY + sum(self._message(_plain(message)) for message in messages)
        if tools:
            total += self._tool_rules.end + sum(self._tool(_plain(tool)) for tool in tools)
        return total

    def _message(self, message: Mapping[str, Any]) -> int:
        total = _PER_MESSAGE + self._text_of(message.get("role"))
        total += self._content(message.get("content"))
        if name := message.get("name"):
            total += _PER_NAME + self._text_of(name)
        calls = [_plain(call).get("function") for call in message.get("tool_calls") or ()]
        for call in (*calls, message.get("function_call")):
            total += self._call(_plain(call))
        return total

    def _call(self, call: Mapping[str, Any]) -> int:
        return self._text_of(call.get("name")) + self._text_of(call.get("arguments"))

    def _content(self, content: Any, depth: int = 0) -> int:
        if isinstance(content, str) or content is None or depth > _MAX_DEPTH:
            return self._text_of(content)
        if isinstance(content, Mapping) or not isinstance(content, Iterable):
            return self._part(_plain(content), depth)
        return sum(self._content(part, depth + 1) for part in content)

    def _part(self, part: Mapping[str, Any], depth: int) -> int:
        """One part of a message: text, an image, the use of a tool or what came of it."""
        kind = part.get("type")
        if kind in ("image_url", "input_image", "image"):
            return self._image(part)
        total = self._text_of(part.get("text")) + self._text_of(part.get("refusal"))
        if kind == "tool_use":
            total += self._text_of(part.get("name")) + self._json(part.get("input"))
        return total + self._content(part.get("content"), depth + 1)

    def _image(self, part: Mapping[str, Any]) -> int:
        where = part.get("image_url")
        url = where if isinstance(where, str) else _plain(where).get("url")
        size = image_size(url) if isinstance(url, str) else None
        data = _plain(part.get("source")).get("data")
        if isinstance(data, str):
            size = size_of_base64(data)
        detail = part.get("detail") or _plain(where).get("detail")
        return image_tokens(self._info.provider, self._info.model, size, detail)

    def _tool(self, tool: Mapping[str, Any]) -> int:
        function = _plain(tool.get("function")) or tool
        total = self._tool_rules.function + self._described(function, function.get("name"))
        schema = function.get("parameters") or function.get("input_schema")
        return total + self._properties(_plain(schema), 0)

    def _properties(self, schema: Mapping[str, Any], depth: int) -> int:
        properties = _plain(schema.get("properties"))
        if not properties or depth > _MAX_DEPTH:
            return 0
        total = self._tool_rules.properties
        for name, about in properties.items():
            total += self._property(name, _plain(about), depth)
        return total

    def _property(self, name: str, about: Mapping[str, Any], depth: int) -> int:
        total = self._tool_rules.key + self._described(about, f"{name}:{about.get('type', '')}")
        if choices := about.get("enum"):
            total += self._tool_rules.enum
            total += sum(self._tool_rules.item + self._text_of(choice) for choice in choices)
        items = _plain(about.get("items"))
        return total + sum(self._properties(inner, depth + 1) for inner in (about, items))

    def _described(self, thing: Mapping[str, Any], name: object) -> int:
        # The full stop that ends a description is dropped before the model sees it.
        return self._text(f"{name}:{str(thing.get('description') or '').removesuffix('.')}")

    def _json(self, value: object) -> int:
        return self._text_of(json.dumps(value, default=str, ensure_ascii=False))

    def _text_of(self, text: object) -> int:
        return self._text(str(text)) if text not in (None, "") else 0


def _plain(thing: Any) -> Mapping[str, Any]:
    """A mapping of what may be one of the provider package's objects, or nothing at all."""
    if isinstance(thing, Mapping):
        return thing
    dump = getattr(thing, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else {}
