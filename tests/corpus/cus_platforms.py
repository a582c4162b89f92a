"""Messages of Anthropic's models at Bedrock and Vertex, whose regional names may cost more."""

from collections.abc import Iterator
from typing import Any, Final

from tests.corpus.cus_anthropic_shapes import messages, spoken
from tests.corpus.cus_calls import Call, Place
from tests.corpus.cus_places import BEDROCK_PRICING, VERTEX_PRICING, bedrock, vertex

_SONNET: Final = "claude-sonnet-4-5-20250929"
_HAIKU: Final = "claude-haiku-4-5-20251001"
_OLDER: Final = "claude-sonnet-4-20250514"
_OPUS: Final = "claude-opus-4-6"


def _at_bedrock(
    asked: str, model: str, bills: str, place: Place, usage: Any = None, name: str | None = None
) -> Iterator[Call]:
    yield from messages(name or f"message of {asked} at Bedrock", model,
                        usage or spoken(1_000, 500), bills, asked=asked, place=place,
                        page=BEDROCK_PRICING)  # fmt: skip


def _at_vertex(
    asked: str, model: str, bills: str, region: str, usage: Any = None
) -> Iterator[Call]:
    yield from messages(f"message of {asked} at Vertex in {region}", model,
                        usage or spoken(1_000, 500), bills, asked=asked, place=vertex(region),
                        page=VERTEX_PRICING)  # fmt: skip


CALLS: Final[list[Call]] = [
    *_at_bedrock(f"global.anthropic.{_SONNET}-v1:0", _SONNET, "1000 x 300 + 500 x 1500",
                 bedrock("us-east-1", "global")),
    *_at_bedrock(f"us.anthropic.{_SONNET}-v1:0", _SONNET, "1000 x 330 + 500 x 1650",
                 bedrock("us-east-1", "us")),
    *_at_bedrock(f"us.anthropic.{_SONNET}-v1:0", _SONNET,
                 "100 x 330 + 600 x 33 + 200 x 412.5 + 100 x 660 + 500 x 1650",
                 bedrock("us-east-1", "us"), spoken(100, 500, read=600, written=(200, 100)),
                 "message with all of the caches at Bedrock"),
    *_at_bedrock(f"eu.anthropic.{_HAIKU}-v1:0", _HAIKU, "1000 x 110 + 500 x 550",
                 bedrock("eu-central-1", "eu")),
    *_at_bedrock(f"jp.anthropic.{_SONNET}-v1:0", _SONNET, "1000 x 330 + 500 x 1650",
                 bedrock("ap-northeast-1", "jp")),
    *_at_bedrock(f"anthropic.{_HAIKU}-v1:0", _HAIKU, "1000 x 110 + 500 x 550",
                 bedrock("us-west-2")),
    *_at_bedrock(f"us.anthropic.{_OPUS}-v1", _OPUS, "1000 x 550 + 500 x 2750",
                 bedrock("us-east-1", "us")),
    *_at_bedrock(f"global.anthropic.{_OPUS}-v1", _OPUS, "1000 x 500 + 500 x 2500",
                 bedrock("us-east-1", "global")),
    *_at_bedrock(f"us.anthropic.{_OLDER}-v1:0", _OLDER, "1000 x 300 + 500 x 1500",
                 bedrock("us-east-1", "us")),
    *_at_bedrock(f"apac.anthropic.{_OLDER}-v1:0", _OLDER, "1000 x 300 + 500 x 1500",
                 bedrock("ap-south-1", "apac")),
    *_at_vertex("claude-sonnet-4-5@20250929", _SONNET, "1000 x 300 + 500 x 1500", "global"),
    *_at_vertex("claude-sonnet-4-5@20250929", _SONNET, "1000 x 330 + 500 x 1650", "europe-west4"),
    *_at_vertex("claude-haiku-4-5@20251001", _HAIKU, "400 x 110 + 600 x 11 + 500 x 550",
                "us-east5", spoken(400, 500, read=600)),
    *_at_vertex("claude-opus-4-6", _OPUS, "1000 x 550 + 500 x 2750", "eu"),
    *_at_vertex("claude-opus-4-6", _OPUS, "1000 x 500 + 500 x 2500", "global"),
    *_at_vertex("claude-sonnet-4@20250514", _OLDER, "1000 x 300 + 500 x 1500", "us-east5"),
]  # fmt: skip
