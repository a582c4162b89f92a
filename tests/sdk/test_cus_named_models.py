"""Every model that the pinned provider packages name has a price, or a reason to have none."""

import typing
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic.types.model import Model
from openai.types import AudioModel, EmbeddingModel, ImageModel, ModerationModel, VideoModel
from openai.types.audio.speech_model import SpeechModel
from openai.types.shared.all_models import AllModels
from openai.types.shared.chat_model import ChatModel

from aos_sdk import get_model_pricing

NAMED = (
    AllModels, AudioModel, ChatModel, EmbeddingModel, ImageModel, Model, ModerationModel,
    SpeechModel, VideoModel,
)  # fmt: skip
# Names without a price in the table, and why.
_BY_THE_IMAGE = "Billed by the image's size and quality, which its answer does not say."
_NOT_PUBLISHED = "No price was published by 28 November 2026."
UNPRICED = {
    "dall-e-2": _BY_THE_IMAGE,
    "dall-e-3": _BY_THE_IMAGE,
    "gpt-6.2-astra": _NOT_PUBLISHED,
    "gpt-6.2-astra-law": _NOT_PUBLISHED,
    "gpt-6.2-sol": _NOT_PUBLISHED,
}


def _names(kind: Any) -> Iterator[str]:
    if typing.get_origin(kind) is typing.Literal:
        yield from typing.get_args(kind)
        return
    for part in typing.get_args(kind):
        yield from _names(part)


@pytest.mark.parametrize("name", sorted({name for kind in NAMED for name in _names(kind)}))
def test_a_named_model_has_a_price_or_a_reason_to_have_none(name: str) -> None:
    priced = get_model_pricing(name) is not None

    assert priced != (name in UNPRICED), UNPRICED.get(name, "Add it to the table, or say why not.")
