"""What a prompt consists of: texts to count, and tokens that its provider adds around them (§12)."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aos_sdk.cus_counting.exact import CusCountingEnded
from aos_sdk.cus_counting.image_tokens import image_size, image_tokens, size_of_base64
from aos_sdk.cus_counting.tool_texts import plain, text_of_format, text_of_tools

# Around every message; its author's name, if it has one; and the start of the reply.
PER_MESSAGE: Final = 3
_PER_NAME: Final = 1
REPLY: Final = 3
# Around a tool's use and its result together, by recorded usage of OpenAI's; around the use of a
# function, as older requests have it, and how much less its result has around it.
_PER_TOOL_USE: Final = 8
_PER_FUNCTION_USE: Final = 3
_LESS_FOR_FUNCTION_RESULT: Final = 2
# Tools and format are in the system's message: another one where the prompt has none, else its end.
_SYSTEM_MESSAGE: Final = 3
_END_OF_SYSTEM_MESSAGE: Final = -1
_SYSTEM: Final = frozenset({"system", "developer"})
_MAX_DEPTH: Final = 20
# The clock is looked at once in so many texts.
_TEXTS_A_LOOK: Final = 16


def _never() -> bool:
    return False


@dataclass(slots=True)
class CusPromptParts:
    """The texts of a prompt, and the tokens of all else: images, and what wraps the texts.

    Where there was no time to look at all of it, `is_complete` is False, and `share` is the part of
    the messages that was looked at.
    """

    texts: list[str] = field(default_factory=list)
    overhead: int = 0
    is_complete: bool = True
    share: float = 1.0


def parts_of_prompt(
    messages: Iterable[Any],
    tools: Sequence[Any],
    response_format: Any,
    model: tuple[str, str],
    is_over: Callable[[], bool] = _never,
) -> CusPromptParts:
    """Take a prompt apart. `model` is its provider and its name in the table, for its images.

    Where `is_over` says that time is, the parts are those of the first messages alone.
    """
    gathering = _Gathering(model, is_over)
    gathering.prompt(list(messages), tools, response_format)
    return gathering.parts


class _Gathering:
    """Goes through one prompt."""

    def __init__(self, model: tuple[str, str], is_over: Callable[[], bool]) -> None:
        self._model = model
        self._is_over = is_over
        self._has_system = False
        self.parts = CusPromptParts(overhead=REPLY)

    def prompt(self, messages: list[Any], tools: Sequence[Any], response_format: Any) -> None:
        done = 0
        try:
            for message in messages:
                self._message(plain(message))
                done += 1
            for text in (text_of_tools(tools), text_of_format(response_format)):
                self._add_for_system(text)
        except CusCountingEnded:
            self.parts.is_complete = False
            self.parts.share = max(done, 1) / max(len(messages), 1)

    def _add_for_system(self, text: str) -> None:
        if text:
            self.parts.overhead += _END_OF_SYSTEM_MESSAGE if self._has_system else _SYSTEM_MESSAGE
            self._has_system = True
            self._add(text)

    def _add(self, text: object) -> None:
        if text in (None, ""):
            return
        texts = self.parts.texts
        texts.append(text if type(text) is str else str(text))
        if len(texts) % _TEXTS_A_LOOK == 0 and self._is_over():
            raise CusCountingEnded

    def _message(self, message: Mapping[str, Any]) -> None:
        self.parts.overhead += PER_MESSAGE
        role = message.get("role")
        self._has_system = self._has_system or role in _SYSTEM
        self._add(role)
        self._content(message.get("content"))
        kind = message.get("type")
        if kind == "function_call":
            self._use(message)
        elif kind == "function_call_output":
            self._content(message.get("output"))
        elif name := message.get("name"):
            self.parts.overhead += _PER_NAME
            self._add(name)
        if role == "function":
            self.parts.overhead -= _LESS_FOR_FUNCTION_RESULT
        for call in message.get("tool_calls") or ():
            self._use(plain(plain(call).get("function")))
        if call := plain(message.get("function_call")):
            self._use(call, _PER_FUNCTION_USE)

    def _use(self, call: Mapping[str, Any], around: int = _PER_TOOL_USE) -> None:
        self.parts.overhead += around
        self._add(call.get("name"))
        self._add(call.get("arguments"))

    def _content(self, content: Any, depth: int = 0) -> None:
        if isinstance(content, str) or content is None or depth > _MAX_DEPTH:
            self._add(content)
        elif isinstance(content, Mapping) or not isinstance(content, Iterable):
            self._part(plain(content), depth)
        else:
            for part in content:
                self._content(part, depth + 1)

    def _part(self, part: Mapping[str, Any], depth: int) -> None:
        """One part of a message: text, an image, the use of a tool or what came of it."""
        kind = part.get("type")
        if kind in ("image_url", "input_image", "image"):
            self._image(part)
            return
        self._add(part.get("text"))
        self._add(part.get("refusal"))
        if kind == "tool_use":
            self._add(part.get("name"))
            self._add(json.dumps(part.get("input"), default=str, ensure_ascii=False))
        self._content(part.get("content"), depth + 1)

    def _image(self, part: Mapping[str, Any]) -> None:
        where = part.get("image_url")
        url = where if isinstance(where, str) else plain(where).get("url")
        size = image_size(url) if isinstance(url, str) else None
        data = plain(part.get("source")).get("data")
        if isinstance(data, str):
            size = size_of_base64(data)
        detail = part.get("detail") or plain(where).get("detail")
        self.parts.overhead += image_tokens(*self._model, size, detail)
