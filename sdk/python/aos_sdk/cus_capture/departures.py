"""Whether a request of a failed call has left the program: what the client itself refused is no call
(ruling F8a).

`send` of httpx and httpx2, which all clients of the provider packages use, notes each request in the
current call while the middleware is installed (`bypass_transports`). Without the middleware, and
with a client of another kind, only the error tells.
"""

from typing import Any, Final

from aos_sdk.cus_scope import current_call

# Names of exception classes, so that no provider's package is imported. The base of both packages'
# errors about a request: an answer with an error status, a lost connection, a timeout.
_OF_A_REQUEST: Final = frozenset({"APIError", "TransportError", "ConnectionError", "TimeoutError"})
_OF_ARGUMENTS: Final = frozenset({"TypeError", "ValueError"})
# These are `ValueError`s about an answer.
_OF_AN_ANSWER: Final = frozenset({"JSONDecodeError", "UnicodeError", "ValidationError"})

_are_noted = False


def set_departures_noted(*, are_noted: bool) -> None:
    """Tell whether the clients' requests are noted from now on."""
    global _are_noted
    _are_noted = are_noted


def note_departure() -> None:
    """Note in the current call that a request leaves."""
    call = current_call()
    if call is not None:
        call.departed = True


def never_left(call: Any, error: BaseException) -> bool:
    """Whether this provider call failed before any request of it left the program.

    Where departures are not noted, or the call's client is of no known package, an error about
    arguments (`TypeError`, `ValueError`) means that nothing left.
    """
    names = {base.__name__ for base in type(error).__mro__}
    if call.departed or call.stream or names & _OF_A_REQUEST:
        return False
    if _are_noted and not call.is_of_unknown_client:
        return True
    return bool(names & _OF_ARGUMENTS) and not names & _OF_AN_ANSWER
