"""Whether a person has stopped what a call names: its agent, session, end user or model."""

import uuid
from collections.abc import Iterator

from enforcement.cus_checks.requests import CheckRequest
from enforcement.cus_rules.authority import Known
from enforcement.cus_rules.reasons import Stopped
from integrations.cus_lifecycle.end_users import CusEndUsers
from telemetry.cus_evidence.names import name_as_stored


def stop_of(tenant_id: uuid.UUID, known: Known | None, request: CheckRequest) -> Stopped | None:
    """The stop of what the call names, None if nothing of it is stopped."""
    if known is None or not known.stops:
        return None
    return next(
        (stop for name in _names(tenant_id, known, request) if (stop := known.stops.get(name))),
        None,
    )


def _names(tenant_id: uuid.UUID, known: Known, request: CheckRequest) -> Iterator[tuple[str, str]]:
    for scope in ("agent_id", "session_id"):
        if name := getattr(request, scope):
            yield scope, name
            # As the console shows the name, where it looks like a key.
            yield scope, name_as_stored(scope, name)
    if request.end_user:
        # Names that were stopped before they had to be stored as pseudonyms, too.
        for spelling in sorted(CusEndUsers(tenant_id).spellings(request.end_user)):
            yield "end_user", spelling
    if model := request.model or known.row.get("default_model"):
        yield "model", model
