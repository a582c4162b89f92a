"""How Django tells the web server whether a person sent a request."""

from enum import StrEnum
from typing import Any


class Secret(StrEnum):
    """What a person's request is authenticated by. The value is its key in META."""

    SESSION = "cus.session_is_a_persons"
    TOKEN = "cus.token_is_a_persons"  # noqa: S105  (a key's name)


def note_secret(request: Any, secret: Secret, *, is_a_persons: bool) -> None:
    """Note in META whether the request's session or token is a person's, open and valid.

    META is the server's own WSGI environment, which it reads after the answer. It gets the verdict
    alone: error reports show META.
    """
    request.META[secret] = is_a_persons
