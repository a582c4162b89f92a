"""What a request to a provider asks for, by its HTTP method and the end of its path.

For requests that no method of a provider's package makes: by a client's own `post`, or by another
HTTP client.
"""

import re
from typing import Final

from aos_sdk.cus_providers import anthropic, openai
from aos_sdk.cus_providers.provider import CusSurface

# The longer end before the shorter end that it contains.
_SURFACES: Final[tuple[tuple[str, CusSurface], ...]] = (
    ("/chat/completions", openai.CHAT),
    ("/completions", openai.COMPLETION),
    ("/responses", openai.RESPONSES),
    ("/responses/compact", openai.RESPONSES),
    ("/embeddings", openai.EMBEDDING),
    ("/images/generations", openai.IMAGE),
    ("/images/edits", openai.IMAGE),
    ("/images/variations", openai.IMAGE),
    ("/audio/speech", openai.AUDIO),
    ("/audio/transcriptions", openai.AUDIO),
    ("/audio/translations", openai.AUDIO),
    ("/messages", anthropic.MESSAGES),
    ("/complete", anthropic.TEXT_COMPLETION),
)
# `/messages` also occurs in paths of stored threads, and `/complete` in those of uploads: no model
# answers them.
_STORED: Final = ("/threads/", "/uploads/")
_ONE_RESPONSE: Final = re.compile(r"/responses/[^/]+\Z")
_CANCELLED: Final = re.compile(r"/responses/[^/]+/cancel\Z")


def surface_of_path(method: str, url: str) -> CusSurface | None:
    """The kind of call that a request is; None if no model answers it.

    `url` is an address or a path, with or without a query.
    """
    path = url.partition("?")[0]
    method = method.upper()
    if method == "GET":
        return openai.LATE_ANSWER if _ONE_RESPONSE.search(path) else None
    if method != "POST" or any(stored in path for stored in _STORED):
        return None
    for end, surface in _SURFACES:
        if path.endswith(end):
            return surface
    return openai.LATE_ANSWER if _CANCELLED.search(path) else None
