"""What a model is shown of the tools it may call and of the format it is to answer in.

OpenAI shows tools as TypeScript in a message of the system's, and a format as its JSON schema; the
wording is the one that OpenAI documents for its open models (harmony). Held against recorded usage
it is right within a few tokens: `docs/sdk.md` has the errors.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_MAX_DEPTH: Final = 20
_INDENT: Final = "  "
# Parts of a strict schema that are not shown to the model.
_NOT_SHOWN: Final = frozenset({"additionalProperties", "required"})
_TYPES: Final = {"integer": "number"}


def plain(thing: Any) -> Mapping[str, Any]:
    """A mapping of what may be one of a provider package's objects, or nothing at all."""
    if isinstance(thing, Mapping):
        return thing
    dump = None if isinstance(thing, type) else getattr(thing, "model_dump", None)
    return dump(exclude_none=True) if callable(dump) else {}


def text_of_tools(tools: Sequence[Any]) -> str:
    """The functions among these tools as TypeScript; empty if there is none.

    What a hosted tool (a search, an interpreter) adds to the prompt is published nowhere.
    """
    functions = [plain(plain(tool).get("function")) or plain(tool) for tool in tools]
    lines = [line for one in functions if one.get("name") for line in _function(one)]
    if not lines:
        return ""
    begin = "# Tools\n\n## functions\n\nnamespace functions {\n"
    return "\n".join((begin, *lines, "} // namespace functions"))


def text_of_format(response_format: Any) -> str:
    """The JSON schema to answer by, as shown to the model; empty if none is given.

    It is given as `response_format` of chat completions, `text.format` of responses,
    `output_format` of messages, or as a class of pydantic's.
    """
    if isinstance(response_format, type):
        return _text_of_class(response_format)
    about = plain(response_format)
    about = plain(about.get("json_schema")) or about
    if not about.get("schema"):
        return ""
    return _format(str(about.get("name", "")), about.get("description"), about["schema"])


def _text_of_class(kind: type) -> str:
    make = getattr(kind, "model_json_schema", None)
    return _format(kind.__name__, None, make()) if callable(make) else ""


def _format(name: str, description: object, schema: Any) -> str:
    comment = _comment(description, "")
    shown = json.dumps(_shown(schema, 0), separators=(",", ":"), default=str, ensure_ascii=False)
    return "\n".join((f"# Response Formats\n\n## {name}\n", *comment, shown))


def _shown(schema: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(schema, Mapping):
        return {
            str(name): _shown(value, depth + 1)
            for name, value in schema.items()
            if name not in _NOT_SHOWN
        }
    if isinstance(schema, list | tuple):
        return [_shown(value, depth + 1) for value in schema]
    return schema


def _function(function: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment(function.get("description"), "")
    schema = plain(function.get("parameters") or function.get("input_schema"))
    name = function["name"]
    if not schema.get("properties"):
        yield f"type {name} = () => any;\n"
        return
    yield f"type {name} = (_: {{"
    yield from _Types(schema).properties(schema, 0, "")
    yield "}) => any;\n"


def _comment(text: object, indent: str) -> Iterator[str]:
    if text:
        yield from (f"{indent}// {line}" for line in str(text).split("\n"))


class _Types:
    """Types of one JSON schema, whose definitions they may refer to."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def properties(self, schema: Mapping[str, Any], depth: int, indent: str) -> Iterator[str]:
        required = schema.get("required") or ()
        for name, about in plain(schema.get("properties")).items():
            schema_of_it = plain(about)
            yield from _comment(schema_of_it.get("description"), indent)
            mark = "" if name in required else "?"
            line = f"{indent}{name}{mark}: {self._type(schema_of_it, depth, indent)},"
            if "default" in schema_of_it:
                line += f" // default: {_json(schema_of_it['default'])}"
            yield line

    def _type(self, schema: Mapping[str, Any], depth: int, indent: str) -> str:
        schema = self._referred(schema)
        if depth > _MAX_DEPTH:
            return "any"
        choices = schema.get("enum") or ([schema["const"]] if "const" in schema else ())
        if choices:
            return " | ".join(_json(choice) for choice in choices)
        kinds = schema.get("anyOf") or schema.get("oneOf") or ()
        if kinds:
            return " | ".join(self._type(plain(kind), depth + 1, indent) for kind in kinds)
        return self._simple(schema, depth, indent)

    def _simple(self, schema: Mapping[str, Any], depth: int, indent: str) -> str:
        kind = schema.get("type")
        if isinstance(kind, list | tuple):
            return " | ".join(str(one) for one in kind)
        if kind == "array":
            return self._type(plain(schema.get("items")), depth + 1, indent) + "[]"
        if kind != "object":
            return str(_TYPES.get(kind or "any", kind or "any"))
        if not schema.get("properties"):
            return "object"
        lines = self.properties(schema, depth + 1, indent + _INDENT)
        return "\n".join(("{", *lines, f"{indent}}}"))

    def _referred(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        where = schema.get("$ref")
        if not isinstance(where, str):
            return schema
        found: Mapping[str, Any] = self._root
        for name in where.removeprefix("#/").split("/"):
            found = plain(found.get(name))
        return found


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
