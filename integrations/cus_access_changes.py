"""Which changes are changes of access: those for which people prove who they are (ruling C10).

The audit trail asks here at each entry, in the transaction of its change. So a new page or
endpoint can't forget to ask for the proof: its change is refused without one.
"""

from collections.abc import Mapping
from typing import Any

# What an audit entry's action begins with: keys, tokens, and people with their roles, passwords
# and second factors.
_KINDS = frozenset({"sdk_key", "token", "member", "person"})
_ACTIONS = frozenset({"tenant.closed"})
# The fields of a change that mean a provider's credential.
_CREDENTIAL = frozenset({"credential", "credential_ref"})


def changes_access(action: str, changes: Mapping[str, Any]) -> bool:
    """Whether an audit entry is about credentials, keys, tokens, members, roles or factors."""
    if action in _ACTIONS or action.partition(".")[0] in _KINDS:
        return True
    return not _CREDENTIAL.isdisjoint(changes)
