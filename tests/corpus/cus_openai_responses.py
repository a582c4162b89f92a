"""Responses of OpenAI's, with the tools that OpenAI hosts."""

from typing import Any, Final

from tests.corpus.cus_calls import PROMPT, UNMEASURED, Call
from tests.corpus.cus_openai_shapes import response, responses, sent_and_made, single
from tests.corpus.cus_places import OPENAI_BACKGROUND, OPENAI_EU, OPENAI_GPT_5_4

# $10 a thousand searches are a cent each.
_TOLD_SEARCHES: Final = {"web_search": {"num_requests": 2}}


def _search(number: int, action: str = "search") -> dict[str, Any]:
    about = {"type": action, "query": "circles", "url": "https://example.com"}
    return {"id": f"ws_{number}", "type": "web_search_call", "status": "completed", "action": about}


def _tool(kind: str, number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"{kind}_{number}", "type": f"{kind}_call", "status": "completed", **more}


def _drawn(text: int, image: int, made: int) -> dict[str, Any]:
    """What the image tool used: text and image tokens of its prompt, tokens of its image."""
    return {
        "image_gen": {
            "input_tokens": text + image,
            "input_tokens_details": {"text_tokens": text, "image_tokens": image},
            "output_tokens": made,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
            "total_tokens": text + image + made,
        },
        "web_search": {"num_requests": 0},
    }


def _background(name: str, status: str) -> Call:
    asks = {"model": "gpt-5", "input": PROMPT, "background": True}
    answer = response("gpt-5", None, status=status, background=True)
    return single(name, "responses.create", asks, answer, UNMEASURED, page=OPENAI_BACKGROUND)


_PLAIN: Final = sent_and_made(1_000, 500)
_PYTHON: Final = {"type": "code_interpreter", "container": {"type": "auto"}}
_PAINTER: Final = {"type": "image_generation", "model": "gpt-image-1", "quality": "low"}

CALLS: Final[list[Call]] = [
    *responses("response", "gpt-4o", _PLAIN, "1000 x 250 + 500 x 1000"),
    *responses("cached response with reasoning", "gpt-5",
               sent_and_made(1_000, 500, cached=768, reasoning=320),
               "232 x 125 + 768 x 12.5 + 500 x 1000"),
    *responses("response that wrote to both caches", "gpt-6.1-terra",
               sent_and_made(1_000, 500, cached=300, written=(150, 50), reasoning=400),
               "500 x 100 + 300 x 5 + 150 x 125 + 50 x 250 + 500 x 500"),
    *responses("response of gpt-6-luna", "gpt-6-luna", sent_and_made(1_001, 500, cached=999),
               "2 x 10 + 999 x 1 + 500 x 50"),
    *responses("response on the flex tier", "o3", _PLAIN, "1000 x 100 + 500 x 400",
               service_tier="flex"),
    *responses("response on the priority tier", "gpt-5.5", sent_and_made(1_000, 500, cached=400),
               "600 x 1250 + 400 x 125 + 500 x 7500", asks={"service_tier": "priority"},
               service_tier="priority"),
    *responses("response of long context", "gpt-5.5", sent_and_made(400_000, 2_000),
               "400000 x 1000 + 2000 x 4500"),
    *responses("response of a pro model", "gpt-5.2-pro", sent_and_made(1_000, 500, reasoning=480),
               "1000 x 2100 + 500 x 16800"),
    *responses("response at the European host", "gpt-5.5", sent_and_made(1_000, 500, cached=200),
               "800 x 550 + 200 x 55 + 500 x 3300", place=OPENAI_EU, page=OPENAI_GPT_5_4),
    *responses("response with two searches", "gpt-5", _PLAIN,
               "1000 x 125 + 500 x 1000 + 2 x 1000000", tools=[{"type": "web_search"}],
               output=[_search(1), _search(2), _search(3, "open_page")],
               tool_usage=_TOLD_SEARCHES),
    *responses("response that lists its searches alone", "gpt-5.2", _PLAIN,
               "1000 x 175 + 500 x 1400 + 1 x 1000000", tools=[{"type": "web_search"}],
               output=[_search(1), _search(2, "find_in_page")]),
    *responses("response with a search of the preview", "gpt-4o", _PLAIN,
               "1000 x 250 + 500 x 1000 + 2 x 2500000", tools=[{"type": "web_search_preview"}],
               output=[_search(1), _search(2)]),
    *responses("response that reasons with a search of the preview", "o4-mini", _PLAIN,
               "1000 x 110 + 500 x 440 + 1 x 1000000",
               tools=[{"type": "web_search_preview_2025_03_11"}], output=[_search(1)]),
    *responses("response with file searches", "gpt-4.1", _PLAIN,
               "1000 x 200 + 500 x 800 + 3 x 250000",
               tools=[{"type": "file_search", "vector_store_ids": ["vs_1"]}],
               output=[_tool("file_search", number, queries=["q"]) for number in range(3)]),
    *responses("response with a container", "gpt-5", _PLAIN,
               "1000 x 125 + 500 x 1000 + 1 x 3000000", tools=[_PYTHON],
               output=[_tool("code_interpreter", number, container_id="cntr_1", code="1")
                       for number in range(2)]),
    *responses("response with an image", "gpt-5", _PLAIN,
               "1000 x 125 + 500 x 1000 + 60 x 500 + 272 x 4000", tools=[_PAINTER],
               output=[_tool("image_generation", 1, result="AAAA")],
               tool_usage=_drawn(60, 0, 272)),
    *responses("response with an edited image", "gpt-5.2", _PLAIN,
               "1000 x 175 + 500 x 1400 + 60 x 500 + 323 x 1000 + 272 x 4000", tools=[_PAINTER],
               output=[_tool("image_generation", 1, result="AAAA")],
               tool_usage=_drawn(60, 323, 272)),
    *responses("response with tools of the program's own", "gpt-5-nano", _PLAIN,
               "1000 x 5 + 500 x 40",
               output=[_tool("function", 1, call_id="c", name="f", arguments="{}")]),
    *responses("deep research", "o4-mini-deep-research", _PLAIN,
               "1000 x 200 + 500 x 800 + 2 x 1000000", tools=[{"type": "web_search"}],
               output=[_search(1), _search(2)], tool_usage=_TOLD_SEARCHES),
    *responses("response that was cut short", "gpt-5", _PLAIN, "1000 x 125 + 500 x 1000",
               status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
    _background("background response that waits", "queued"),
    _background("background response that runs", "in_progress"),
]  # fmt: skip
