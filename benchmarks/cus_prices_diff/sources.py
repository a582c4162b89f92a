"""The newest prices of genai-prices and LiteLLM, read from the data in their packages."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from aos_project.cus_runner import BASE_DIR
from benchmarks.cus_prices_diff.points import IMAGE_OUT, PLAIN, Point, Stated

_TARGET: Final = BASE_DIR / ".data" / "prices-diff"
_INSTALL_SECONDS: Final = 600.0
_PER_MILLION: Final = Decimal(1_000_000)
_PER_THOUSAND: Final = Decimal(1_000)
GENAI: Final = "genai-prices"
LITELLM: Final = "LiteLLM"
_FIRST_PARTY: Final = ("openai", "anthropic")


class SourceMissing(Exception):
    """Why the newest prices could not be had, and what to do."""


def install_newest() -> None:
    """Both packages, without what they depend on, into a folder of their own."""
    wanted = ("--upgrade", "--no-deps", "--target", str(_TARGET), "genai-prices", "litellm")
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        msg = f"pip could not install the newest price data: {reason}. Check the package index."
        raise SourceMissing(msg)


def versions() -> Mapping[str, str]:
    """Which release of each collection is compared."""
    found = (path.name.removesuffix(".dist-info") for path in _TARGET.glob("*.dist-info"))
    return dict(name.split("-", 1) for name in found)


# The collections' keys by our kinds of tokens.
_GENAI_KINDS: Final = {
    "input_mtok": "input",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_in",
    "input_image_mtok": "image_in",
    "output_mtok": "output",
    "output_audio_mtok": "audio_out",
    "output_image_mtok": IMAGE_OUT,
    "web_searches_kcount": "searches",
    "storage_searches_kcount": "file_searches",
}


def genai_prices() -> Iterator[Stated]:
    """What the newest genai-prices says of OpenAI's and Anthropic's models."""
    program = Path(__file__).with_name("genai_dump.py")
    answer = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(_TARGET)},
        capture_output=True,
        text=True,
        check=True,
    )
    for entry in json.loads(answer.stdout):
        kind = _GENAI_KINDS.get(entry["key"])
        if kind is not None:
            for above, dollars in entry["steps"]:
                point = Point(entry["model"], entry["tier"], above, kind)
                yield Stated(GENAI, point, Decimal(dollars))


_LITELLM_KINDS: Final = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_in",
    "input_cost_per_image_token": "image_in",
    "output_cost_per_token": "output",
    "output_cost_per_audio_token": "audio_out",
    "output_cost_per_image_token": IMAGE_OUT,
}
_LITELLM_TIERS: Final = {"batches": "batch", "flex": "flex", "priority": "priority"}
_LITELLM_KEY: Final = re.compile(
    r"(?P<kind>.+?)(?:_above_(?P<above>\d+)k_tokens)?(?:_(?P<tier>batches|flex|priority))?\Z"
)


def litellm_prices() -> Iterator[Stated]:
    """What the newest LiteLLM says of OpenAI's and Anthropic's models."""
    path = _TARGET / "litellm" / "model_prices_and_context_window_backup.json"
    models = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal)
    for model, about in models.items():
        if about.get("litellm_provider") in _FIRST_PARTY and "/" not in model:
            yield from _litellm_model(model, about)


def _litellm_model(model: str, about: Mapping[str, Any]) -> Iterator[Stated]:
    for key, price in about.items():
        parts = _LITELLM_KEY.fullmatch(key)
        kind = _LITELLM_KINDS.get(parts["kind"]) if parts else None
        if parts is None or kind is None or not price:
            continue
        above = int(parts["above"] or 0) * 1_000
        tier = _LITELLM_TIERS.get(parts["tier"], PLAIN)
        yield Stated(LITELLM, Point(model, tier, above, kind), price * _PER_MILLION)
    search = about.get("search_context_cost_per_query")
    if search:
        dollars = search["search_context_size_medium"] * _PER_THOUSAND
        yield Stated(LITELLM, Point(model, PLAIN, 0, "searches"), dollars)
