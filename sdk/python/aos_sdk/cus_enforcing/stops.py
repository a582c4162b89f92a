"""Whose calls a person has stopped, as the configuration tells: the kill switch.

The server decides by a check wherever it answers. Here a call is kept from beginning without one.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aos_sdk.cus_enforcing.scoped_limits import PSEUDONYM, CusNamed

_SCOPES: Final = ("agent_id", "session_id", "end_user", "model")


class CusStops(NamedTuple):
    """What is stopped: reasons by scope and value; and whether an end user is by a pseudonym."""

    reasons: Mapping[tuple[str, str], str] = {}
    has_pseudonyms: bool = False
    default_model: str | None = None

    @classmethod
    def read(cls, configuration: Mapping[str, Any] | None) -> "CusStops":
        """The stops of a configuration; what is none is left out."""
        content = (configuration or {}).get("stops")
        reasons = {
            (str(one.get("scope")), str(one.get("value"))): str(one.get("reason") or "")
            for one in (content if isinstance(content, list) else [])
            if isinstance(one, Mapping)
        }
        hashed = any(s == "end_user" and value.startswith(PSEUDONYM) for s, value in reasons)
        default = (configuration or {}).get("default_model")
        return cls(reasons, hashed, default if isinstance(default, str) else None)

    def reason(self, call: CusNamed) -> str | None:
        """Why the call is stopped, in a sentence; None if nothing that it names is."""
        for scope in _SCOPES:
            name = getattr(call, scope) or (self.default_model if scope == "model" else None)
            why = self.reasons.get((scope, name)) if name else None
            if why is not None:
                return f"The {scope.removesuffix('_id').replace('_', ' ')} {name} is stopped: {why}"
        return None

    def may_stop(self, call: CusNamed) -> bool:
        """Whether the server has to be asked, because the call may be stopped."""
        if not self.reasons:
            return False
        return (self.has_pseudonyms and bool(call.end_user)) or self.reason(call) is not None
