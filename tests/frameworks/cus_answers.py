"""What the local provider answers: a text, a call of a tool, or a document by a schema.

The answer depends only on the request, so that the same program gets the same answer twice.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

WORDS: Final = ("The ", "quick ", "brown ", "fox ", "jumps.")
TEXT: Final = "".join(WORDS)
# Tools by which frameworks let a model end a run; the model calls them last.
_LAST_TOOLS: Final = frozenset({"final_answer", "final_result"})
# How DSPy asks for the fields of an answer, and ends them.
_DSPY_END: Final = "[[ ## completed ## ]]"
_EXAMPLES: Final[dict[str, Any]] = {
    "string": "Ada",
    "integer": 36,
    "number": 36.5,
    "boolean": True,
    "null": None,
}


@dataclass(frozen=True)
class Answer:
    """A model's answer: a text, or the call of a tool with its arguments."""

    text: str = ""
    tool: str = ""
    arguments: str = ""

    @property
    def pieces(self) -> tuple[str, ...]:
        """The text, or the arguments, as a stream sends them."""
        whole = self.arguments if self.tool else self.text
        if whole == TEXT:
            return WORDS
        middle = len(whole) // 2
        return whole[:middle], whole[middle:]


def answer_to(body: dict[str, Any]) -> Answer:
    """The answer to a request of any of the three protocols."""
    tools = dict(_tools(body))
    if not _was_answered(body):
        name = next((name for name in tools if name not in _LAST_TOOLS), next(iter(tools), None))
    else:
        name = next((name for name in tools if name in _LAST_TOOLS), None)
    if name is not None:
        return Answer(tool=name, arguments=json.dumps(_example(tools[name], tools[name])))
    schema = _schema(body)
    if schema is not None:
        return Answer(json.dumps(_example(schema, schema)))
    if _DSPY_END in json.dumps(body):
        return Answer(f"[[ ## answer ## ]]\n{TEXT}\n\n{_DSPY_END}")
    return Answer(TEXT)


def _was_answered(body: dict[str, Any]) -> bool:
    """Whether the model has had a turn before: then it knows its tools' results."""
    turns = body.get("messages") or body.get("input")
    if body.get("previous_response_id"):
        return True
    return isinstance(turns, list) and any(
        turn.get("role") == "assistant" or turn.get("type") == "function_call" for turn in turns
    )


def _tools(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for tool in body.get("tools") or ():
        described = tool.get("function", tool)
        schema = described.get("parameters") or described.get("input_schema") or {}
        yield described["name"], schema


def _schema(body: dict[str, Any]) -> dict[str, Any] | None:
    """The schema that the answer's text must have, where the request names one."""
    form = (
        body.get("response_format")
        or (body.get("text") or {}).get("format")
        or (body.get("output_config") or {}).get("format")
        or body.get("output_format")
        or {}
    )
    form = form.get("json_schema", form)
    schema: dict[str, Any] | None = form.get("schema")
    return schema


def _example(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """A value that the schema admits; `root` has the definitions that it refers to."""
    if "$ref" in schema:
        return _example(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("anyOf"):
        return _example(schema["anyOf"][0], root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        members = schema.get("properties") or {}
        return {name: _example(member, root) for name, member in members.items()}
    if kind == "array":
        return [_example(schema.get("items") or {}, root)]
    return _EXAMPLES[kind]
