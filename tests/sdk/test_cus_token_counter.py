"""Counting tokens before a call, without any network (§12, rulings T1, T2)."""

import base64
import gzip
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiktoken
from openai.types.chat import ChatCompletionMessage
from tiktoken.model import encoding_name_for_model

from aos_sdk import (
    MODEL_REGISTRY,
    CusModelInfo,
    count_message_tokens,
    count_tokens,
    cus_token_counter,
    estimate_tokens,
    get_context_window,
    get_model_info,
    tiktoken_available,
)
from aos_sdk.cus_counting import image_tokens as cus_image_tokens
from aos_sdk.cus_counting.approximation import approximate_tokens
from aos_sdk.cus_counting.tool_texts import text_of_tools
from aos_sdk.cus_pricing import table as cus_price_table

# Where each script begins and ends, so that a text can be drawn from any of them.
SCRIPTS = [
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x370, 0x3FF),
    (0x400, 0x4FF),
    (0x5D0, 0x5EA),
    (0x600, 0x6FF),
    (0x900, 0x97F),
    (0xE00, 0xE7F),
    (0x3040, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0x1F300, 0x1FAFF),
]
WORDS = [
    "the",
    "quick",
    "naïve",
    "Überraschung",
    "быстро",
    "سلام",
    "नमस्ते",
    "こんにちは",
    "你好",
    "<|endoftext|>",
    "\n\n\t",
    "12345",
    "it's",
]


def _texts(count: int) -> Iterator[str]:
    chance = random.Random(20_260_117)
    for _ in range(count):
        pieces = []
        for _ in range(chance.randrange(12)):
            low, high = chance.choice(SCRIPTS)
            letters = (chr(chance.randint(low, high)) for _ in range(chance.randrange(1, 12)))
            pieces.append(chance.choice([chance.choice(WORDS), "".join(letters)]))
        yield chance.choice(["", " "]).join(pieces)


@pytest.fixture(scope="module")
def tiktokens_own() -> Iterator[dict[str, tiktoken.Encoding]]:
    """tiktoken's encodings by its own public way, its downloads answered from the installed files."""
    folder = Path(cus_token_counter._ranks_folder() or "")

    def read(url: str) -> bytes:
        return gzip.decompress((folder / f"{url.rsplit('/', 1)[-1]}.gz").read_bytes())

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TIKTOKEN_CACHE_DIR", "")
        patched.setattr("tiktoken.load.read_file", read)
        yield {name: tiktoken.get_encoding(name) for name in ("cl100k_base", "o200k_base")}


@pytest.mark.parametrize("model", ["gpt-4", "gpt-3.5-turbo", "text-embedding-3-small"])
def test_a_thousand_texts_count_as_tiktoken_counts_them_for_older_models(
    model: str, tiktokens_own: dict[str, tiktoken.Encoding]
) -> None:
    _assert_counts(model, tiktokens_own["cl100k_base"])


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "o1", "gpt-5", "ft:gpt-4o:org::id"])
def test_a_thousand_texts_count_as_tiktoken_counts_them_for_newer_models(
    model: str, tiktokens_own: dict[str, tiktoken.Encoding]
) -> None:
    _assert_counts(model, tiktokens_own["o200k_base"])


def _assert_counts(model: str, encoding: tiktoken.Encoding) -> None:
    assert encoding_name_for_model(model) == encoding.name
    for text in _texts(1_000):
        assert count_tokens(text, model) == len(encoding.encode(text, disallowed_special=()))


def test_hello_world_is_two_tokens_in_either_encoding() -> None:
    encodings = [cus_token_counter.encoding_for(model) for model in ("gpt-4", "gpt-4o")]
    found = [encoding.encode("hello world") for encoding in encodings if encoding]
    assert found == [[15_339, 1_917], [24_912, 2_375]]


def test_the_encodings_of_the_table_are_those_of_tiktokens_own_map() -> None:
    for name, info in MODEL_REGISTRY.items():
        if info.tokenizer_type != "tiktoken":
            continue
        try:
            theirs = encoding_name_for_model(name)
        except KeyError:
            assert not info.exact, name
        else:
            # Its rule for fine-tuned gpt-4 is older than gpt-4.1, whose own encoding is another.
            tuned = name.startswith("ft:gpt-4.1") and not info.exact
            assert tuned or theirs == info.tokenizer_name, name


def test_a_model_newer_than_our_table_is_counted_by_tiktokens_map() -> None:
    assert cus_price_table.canonical_name("gpt-4o-of-tomorrow") is None
    assert count_tokens("hello world, 你好", "gpt-4o-of-tomorrow") == count_tokens(
        "hello world, 你好", "gpt-4o"
    )


@pytest.mark.parametrize("model", ["claude-opus-4", "text-davinci-003", "nobody-knows"])
def test_what_cannot_be_counted_is_estimated_and_says_so(model: str) -> None:
    assert count_tokens("x" * 400, model) == 100
    assert not get_model_info(model).exact


def test_an_estimate_of_english_is_a_quarter_of_the_characters_and_at_least_one() -> None:
    assert estimate_tokens("hello world") == 2
    assert [estimate_tokens("x" * length) for length in (0, 1, 7, 8, 400)] == [1, 1, 1, 2, 100]


def test_what_a_model_is_can_be_asked() -> None:
    assert get_model_info("openai/gpt-4o-2024-08-06") == CusModelInfo(
        "gpt-4o", "openai", 128_000, 16_384, "tiktoken", "o200k_base", exact=True
    )
    assert get_model_info("us.anthropic.claude-opus-4-20250514-v1:0") == CusModelInfo(
        "claude-opus-4", "anthropic", 200_000, 32_000, "anthropic", None, exact=False
    )
    assert get_context_window("gpt-4.1") == 1_047_576
    assert get_context_window("nobody-knows") is None
    assert get_model_info("nobody-knows").tokenizer_type == "unknown"
    assert len(MODEL_REGISTRY) == len(cus_price_table.model_names())
    with pytest.raises(KeyError):
        _ = MODEL_REGISTRY["gpt-4o-2024-08-06"]


def test_with_every_socket_blocked_counts_are_as_before() -> None:
    code = """
import socket
def refuse(*args, **kwargs): raise OSError("no network in this test")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
import os
os.environ["TIKTOKEN_CACHE_DIR"] = "/nonexistent"
from aos_sdk import count_tokens
print(count_tokens("hello world", "gpt-4"), count_tokens("hello world", "gpt-4o"))
print(count_tokens("Überraschung 你好 🎉", "gpt-4o"))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.split() == ["2", "2", str(count_tokens("Überraschung 你好 🎉", "gpt-4o"))]


@pytest.fixture
def fresh_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cus_token_counter, "_encodings", cus_token_counter._Encodings())


@pytest.mark.usefixtures("fresh_encodings")
def test_without_the_extra_counts_are_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cus_token_counter, "find_spec", lambda name: None)
    assert not tiktoken_available()
    assert count_tokens("x" * 400, "gpt-4o") == 100
    assert count_tokens("x" * 400, "gpt-4o-of-tomorrow") == 100


@pytest.mark.usefixtures("fresh_encodings")
def test_ranks_that_are_not_tiktokens_are_refused_and_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "o200k_base.tiktoken.gz").write_bytes(gzip.compress(b"aGVsbG8= 0\n"))
    monkeypatch.setattr(cus_token_counter, "_ranks_folder", lambda: tmp_path)
    assert [count_tokens("x" * 400, "gpt-4o") for _ in range(3)] == [100] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("fresh_encodings")
def test_the_hosts_own_tiktoken_is_left_as_it_is() -> None:
    from tiktoken_ext import openai_public

    before = dict(vars(openai_public))
    count_tokens("hello", "gpt-4")
    assert dict(vars(openai_public)) == before


def _tokens(text: str, model: str = "gpt-4o") -> int:
    return count_tokens(text, model)


def test_messages_cost_three_each_a_name_one_and_the_reply_three() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ada", "content": "How much is twice two?"},
    ]
    texts = ("system", "Be brief.", "user", "ada", "How much is twice two?")
    assert count_message_tokens(messages, "gpt-4o") == 3 + 2 * 3 + 1 + sum(map(_tokens, texts))
    assert count_message_tokens([], "gpt-4o") == 3


def test_parts_objects_and_tool_calls_are_counted() -> None:
    call = {"name": "add", "arguments": '{"a": 2, "b": 2}'}
    answer = ChatCompletionMessage.model_validate(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call-1", "type": "function", "function": call}],
        }
    )
    parts = {"role": "user", "content": [{"type": "text", "text": "Two"}, {"text": "and two"}]}
    texts = ("assistant", call["name"], call["arguments"], "user", "Two", "and two")
    assert count_message_tokens([answer, parts], "gpt-4o") == 9 + 8 + sum(map(_tokens, texts))


def test_the_responses_apis_uses_of_tools_are_counted() -> None:
    items = [
        {"type": "function_call", "name": "add", "arguments": '{"a": 2}'},
        {"type": "function_call_output", "output": "4"},
    ]
    texts = ("add", '{"a": 2}', "4")
    assert count_message_tokens(items, "gpt-4o") == 9 + 8 + sum(map(_tokens, texts))


def test_anthropics_blocks_are_counted() -> None:
    messages = [
        {"role": "assistant", "content": [{"type": "tool_use", "name": "add", "input": {"a": 2}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "content": [{"type": "text", "text": "4" * 40}]}],
        },
    ]
    counted = count_message_tokens(messages, "claude-sonnet-4")
    texts = ("assistant", "add", '{"a": 2}', "user", "4" * 40)
    assert counted == 9 + approximate_tokens(texts)


TOOL = {
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "A town."},
            "unit": {"type": "string", "enum": ["C", "F"]},
        },
    },
}


# As OpenAI documents it for its open models (harmony).
SHOWN = """# Tools

## functions

namespace functions {

// Tells the weather.
type weather = (_: {
// A town.
place?: string,
unit?: "C" | "F",
}) => any;

} // namespace functions"""


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4"])
@pytest.mark.parametrize("shape", ["chat", "responses", "anthropic"])
def test_tools_are_counted_as_the_model_is_shown_them(model: str, shape: str) -> None:
    tool: dict[str, Any] = {"type": "function", **TOOL}
    if shape == "chat":
        tool = {"type": "function", "function": TOOL}
    if shape == "anthropic":
        tool = {"name": TOOL["name"], "description": TOOL["description"]}
        tool["input_schema"] = TOOL["parameters"]
    shown = count_tokens(SHOWN, model)
    assert count_message_tokens([], model, [tool]) == 3 + 3 + shown
    # They are at the end of the system's message, where there is one.
    system = [{"role": "system", "content": "Be brief."}]
    without = count_message_tokens(system, model)
    assert count_message_tokens(system, model, [tool]) == without - 1 + shown


def test_parameters_of_every_kind_are_shown_as_types() -> None:
    place = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    parameters = {
        "type": "object",
        "required": ["places"],
        "$defs": {"Place": place},
        "properties": {
            "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            "days": {"type": "integer", "default": 3, "description": "How many.\nAt most ten."},
            "kind": {"const": "short"},
            "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "both": {"type": ["string", "null"]},
            "free": {"type": "object"},
            "whatever": {},
        },
    }
    shown = text_of_tools([{"name": "forecast", "parameters": parameters}, {"name": "stop"}])
    assert (
        shown
        == """# Tools

## functions

namespace functions {

type forecast = (_: {
places: {
  city: string,
}[],
// How many.
// At most ten.
days?: number, // default: 3
kind?: "short",
either?: boolean | null,
both?: string | null,
free?: object,
whatever?: any,
}) => any;

type stop = () => any;

} // namespace functions"""
    )


def test_hosted_tools_are_published_nowhere_and_count_nothing() -> None:
    assert count_message_tokens([], "gpt-4o", [{"type": "web_search"}]) == 3


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "given",
    [
        {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA}},
        {"type": "json_schema", "name": "City", "schema": SCHEMA},
        type("City", (), {"model_json_schema": staticmethod(lambda: SCHEMA)}),
    ],
)
def test_a_format_is_counted_as_the_model_is_shown_it(given: Any) -> None:
    shown = (
        '# Response Formats\n\n## City\n\n{"type":"object","properties":{"city":{"type":"string"}}}'
    )
    counted = count_message_tokens([], "gpt-4o", response_format=given)
    assert counted == 3 + 3 + count_tokens(shown, "gpt-4o")
    assert count_message_tokens([], "gpt-4o", response_format={"type": "json_object"}) == 3


def test_what_leads_back_to_itself_ends() -> None:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"again": schema}
    content: list[Any] = []
    content.append({"content": content})
    tools = [{"name": "f", "parameters": schema}]
    response_format = {"schema": schema}
    assert count_message_tokens([{"content": content}], "gpt-4o", tools, response_format) > 0


# Prompts with the tokens that OpenAI reported for them. The first are published, with their usage,
# by the project openai-chat-tokens, the others by pydantic-ai; models, shapes and sums are theirs.
RECORDED: list[tuple[str, list[Any], list[Any], int]] = [
    ("gpt-3.5-turbo", [{"role": "user", "content": "hello"}], [], 8),
    ("gpt-3.5-turbo", [{"role": "user", "content": "hello"}], [{"name": "foo"}], 31),
    (
        "gpt-3.5-turbo",
        [{"role": "user", "content": "hello"}],
        [{"name": "foo", "description": "Do a foo"}],
        36,
    ),
    (
        "gpt-4.1-mini",
        [{"role": "user", "content": "What is the weather in Paris?"}],
        [
            {
                "name": "get_weather",
                "description": "Get the weather for a location",
                "parameters": {"type": "object", "properties": {"location": {"type": "string"}}},
            }
        ],
        51,
    ),
]


@pytest.mark.parametrize(("model", "messages", "tools", "recorded"), RECORDED)
def test_prompts_count_as_openai_reported_them(
    model: str, messages: list[Any], tools: list[Any], recorded: int
) -> None:
    assert abs(count_message_tokens(messages, model, tools) - recorded) <= 1


# Width, height, detail, model and the tokens in OpenAI's own worked examples and tables.
IMAGES = [
    (1024, 1024, "high", "gpt-4o", 765),
    (2048, 4096, "high", "gpt-4o", 1105),
    (4096, 8192, "low", "gpt-4o", 85),
    (1024, 1024, "auto", "gpt-4o-mini", 25_501),
    (1024, 1024, None, "gpt-5", 70 + 4 * 140),
    (1024, 1024, "high", "o1", 75 + 4 * 150),
    (512, 512, "high", "gpt-4.1", 85 + 170),
    (1024, 1024, "high", "gpt-4.1-mini", 1_659),
    (1800, 2400, "high", "gpt-4.1-mini", 2_353),
    (1800, 2400, "high", "gpt-4.1-nano", 3_572),
    (1024, 1024, "high", "gpt-5.4", 1_229),
    (1, 1, "high", "o4-mini", 2),
    (20_000, 40, "high", "o4-mini", None),
    (1000, 750, None, "claude-sonnet-4", 1_000),
    (4000, 3000, None, "claude-sonnet-4", 1_600),
]


@pytest.mark.parametrize(("width", "height", "detail", "model", "tokens"), IMAGES)
def test_an_image_costs_its_tiles_or_patches(
    width: int, height: int, detail: str | None, model: str, tokens: int | None
) -> None:
    image = {"url": _png(width, height), **({"detail": detail} if detail else {})}
    message = {"content": [{"type": "image_url", "image_url": image}]}
    counted = count_message_tokens([message], model) - 3 - 3
    assert counted == tokens or (tokens is None and 0 < counted <= 1_536 * 2)


def _png(width: int, height: int) -> str:
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width.to_bytes(4) + height.to_bytes(4)
    return f"data:image/png;base64,{base64.b64encode(header).decode()}"


def test_an_image_by_address_counts_as_a_large_one_and_is_not_fetched() -> None:
    part = {"type": "input_image", "image_url": "https://example.com/cat.png", "detail": "high"}
    assert count_message_tokens([{"content": [part]}], "gpt-4o") == 6 + 85 + 4 * 170
    source = {"type": "base64", "data": _png(1000, 750).split(",")[1]}
    assert (
        count_message_tokens([{"content": [{"type": "image", "source": source}]}], "claude-opus-4")
        == 6 + 1_000
    )


JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + (480).to_bytes(2) + (640).to_bytes(2)
WEBP = b"RIFF\x00\x00\x00\x00WEBP"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (JPEG + b"\x00" * 9, (640, 480)),
        (b"GIF89a" + (640).to_bytes(2, "little") + (480).to_bytes(2, "little"), (640, 480)),
        (WEBP + b"VP8X" + b"\x00" * 8 + b"\x7f\x02\x00\xdf\x01\x00", (640, 480)),
        (WEBP + b"VP8L" + b"\x00" * 4 + b"\x2f\x7f\xc2\x77\x00", (640, 480)),
        (WEBP + b"VP8 " + b"\x00" * 10 + b"\x80\x02\xe0\x01", (640, 480)),
        (b"", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 16, None),
        (b"\xff\xd8\xff\xe0\xff\xff", None),
        (b"\xff\xd8" + b"\xff" * 100, None),
        (WEBP, None),
        (b"BM not one of these", None),
    ],
)
def test_an_images_size_is_read_from_its_first_bytes(
    data: bytes, size: tuple[int, int] | None
) -> None:
    url = f"data:image/x;base64,{base64.b64encode(data).decode()}"
    assert cus_image_tokens.image_size(url) == size


@pytest.mark.parametrize(
    "url", ["", "data:image/png;base64,", "data:,x", "data:image/png;base64,é"]
)
def test_an_url_that_is_no_image_has_no_size(url: str) -> None:
    assert cus_image_tokens.image_size(url) is None


@pytest.mark.parametrize(
    "odd", [None, 7, "text", {"content": 7}, {"content": {"text": "x"}}, SimpleNamespace(), {}]
)
def test_an_odd_message_is_counted_as_far_as_it_goes(odd: Any) -> None:
    assert count_message_tokens([odd], "gpt-4o") >= 6
