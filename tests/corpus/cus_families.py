"""The corpus' calls that were answered, by the family of their providers and methods."""

from typing import Final

from tests.corpus import (
    cus_anthropic,
    cus_azure,
    cus_compatible,
    cus_openai_chat,
    cus_openai_media,
    cus_openai_responses,
    cus_platforms,
)

ANSWERED: Final = {
    "chat": cus_openai_chat.CALLS,
    "responses": cus_openai_responses.CALLS,
    "media": cus_openai_media.CALLS,
    "azure": cus_azure.CALLS,
    "compatible": cus_compatible.CALLS,
    "anthropic": cus_anthropic.CALLS,
    "platforms": cus_platforms.CALLS,
}
