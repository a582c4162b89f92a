"""How Django tells the web server what it has found a request's secrets to be."""

from enum import StrEnum
from typing import Any


class Secret(StrEnum):
    """What a request is authenticated by: a person's, or a program's. The value is a key in META."""

    SESSION = "cus.session_accepted"
    TOKEN = "cus.token_accepted"  # noqa: S105  (a key's name)
    KEY = "cus.key_accepted"


def note_verdict(request: Any, secret: Secret, *, accepted: bool | None) -> None:
    """Note in META whether the request's secret is valid; None: nobody can say now.

    META is the server's own WSGI environment, which it reads after the answer. It gets the verdict
    alone: error reports show META.
    """
    request.META[secret] = accepted
