"""Count the tokens of a prompt: messages, tools, formats and images, by OpenAI's rules (§12).

OpenAI's overhead for messages, tools and formats of its chat models is used for other models, too,
as the best available guess. Texts are counted by `count_tokens`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from aos_sdk.cus_counting.prompts import parts_of_prompt
from aos_sdk.cus_token_counter import count_texts, get_model_info


def count_message_tokens(
    messages: Iterable[Any],
    model: str,
    tools: Sequence[Any] | None = None,
    response_format: Any = None,
) -> int:
    """The tokens of a prompt: its messages, the tools it offers, its format and its images.

    Messages, tools and format are as the provider's API takes them, OpenAI's or Anthropic's, as
    mappings or as the package's objects. Nothing is fetched: an image given by address counts as a
    large image. This takes as long as `count_tokens` of all the texts: in an event loop, run it in
    a thread.
    """
    info = get_model_info(model)
    about = (info.provider, info.model)
    parts = parts_of_prompt(messages, tools or (), response_format, about)
    return parts.overhead + count_texts(parts.texts, model)
