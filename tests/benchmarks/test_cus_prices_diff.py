"""The price table beside other collections: each difference is seen, and explained as data."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from benchmarks.cus_prices_diff.explanations import EXPLANATIONS, Explanation
from benchmarks.cus_prices_diff.points import (
    IMAGE_OUT,
    Difference,
    Point,
    Stated,
    as_ours,
    differences,
    price_of,
)
from benchmarks.cus_prices_diff.sources import _litellm_model

_NOW = datetime(2026, 11, 28, tzinfo=UTC)


def _stated(point: Point, dollars: str) -> Stated:
    return Stated("LiteLLM", point, Decimal(dollars))


@pytest.mark.parametrize(
    ("point", "dollars"),
    [
        (Point("gpt-4o", "standard", 0, "input"), "2.5"),
        (Point("gpt-4o-2024-08-06", "standard", 0, "cached"), "1.25"),
        (Point("gpt-4o", "batch", 0, "output"), "5"),
        (Point("gpt-4o", "priority", 0, "input"), "4.25"),
        (Point("gpt-4o", "standard", 0, "file_searches"), "2.5"),
        (Point("gpt-5.5", "standard", 272_000, "output"), "45"),
        (Point("claude-sonnet-4-5", "batch", 200_000, "input"), "3"),
        (Point("gpt-4o", "scale", 0, "input"), None),
        (Point("gpt-4o", "standard", 0, "no such kind"), None),
        (Point("nobody-knows", "standard", 0, "input"), None),
    ],
)
def test_a_price_of_ours_is_found_by_tier_length_and_kind(
    point: Point, dollars: str | None
) -> None:
    assert price_of(point, _NOW) == (None if dollars is None else Decimal(dollars))


def test_a_price_that_is_not_ours_differs_and_the_same_one_does_not() -> None:
    point = Point("gpt-4o", "standard", 0, "input")
    same, other = _stated(point, "2.50"), _stated(point, "2.40")
    unknown = _stated(Point("nobody-knows", "standard", 0, "input"), "1")

    assert list(differences(iter((same, other, unknown)), _NOW)) == [
        Difference(other, Decimal("2.5")),
        Difference(unknown, None),
    ]


def test_the_keys_of_litellm_are_read_by_kind_length_and_tier() -> None:
    about = {
        "input_cost_per_token": Decimal("5e-6"),
        "cache_creation_input_token_cost_above_1hr": Decimal("1e-5"),
        "output_cost_per_token_above_272k_tokens_batches": Decimal("2.25e-5"),
        "cache_read_input_token_cost_priority": Decimal("1.25e-6"),
        "search_context_cost_per_query": {"search_context_size_medium": Decimal("0.01")},
        "input_cost_per_token_ultrafast": Decimal(1),
        "max_input_tokens": Decimal(128_000),
    }

    assert {(one.point[1:], one.dollars) for one in _litellm_model("m", about)} == {
        (("standard", 0, "input"), Decimal(5)),
        (("standard", 0, "cache_write_1h"), Decimal(10)),
        (("batch", 272_000, "output"), Decimal("22.5")),
        (("priority", 0, "cached"), Decimal("1.25")),
        (("standard", 0, "searches"), Decimal(10)),
    }


def test_an_image_models_output_is_the_image_and_its_text_is_reasoning() -> None:
    text = Point("gpt-image-2", "standard", 0, "output")
    image = text._replace(kind=IMAGE_OUT)
    plain = text._replace(model="gpt-4o")
    stated = [_stated(text, "10"), _stated(image, "30"), _stated(plain, "10")]

    assert [(one.point.model, one.point.kind) for one in as_ours(stated)] == [
        ("gpt-image-2", "reasoning"),
        ("gpt-image-2", "output"),
        ("gpt-4o", "output"),
    ]


def test_an_explanation_covers_what_fits_all_of_its_patterns() -> None:
    explanation = Explanation("a preview", ("gpt-4o*",), source="LiteLLM", kind="searches")
    point = Point("gpt-4o-mini", "standard", 0, "searches")

    def covers(point: Point, source: str = "LiteLLM") -> bool:
        return explanation.covers(Difference(Stated(source, point, Decimal(25)), None))

    assert covers(point)
    assert not covers(point._replace(kind="input"))
    assert not covers(point._replace(model="gpt-5"))
    assert not covers(point, "genai-prices")


def test_every_explanation_says_why() -> None:
    assert all(one.models and len(one.because) > 20 for one in EXPLANATIONS)
