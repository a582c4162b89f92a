"""Changes of access need a proof, and the people concerned get a mail (ruling C10).

The audit trail calls this module with each entry, in the transaction of the change. So no page or
endpoint can forget the proof or the mail.
"""

from collections.abc import Mapping
from typing import Any

from integrations.cus_accounts.models import CusApiToken, CusMembership, CusTokenChange, CusUser
from integrations.cus_accounts.proof import is_person_asking, require_proof, token_in_use
from integrations.cus_audit.models import CusAuditEntry
from integrations.cus_mail.service import queue_mail

# First words of audit actions that change access: keys, tokens, and people with their roles,
# passwords and second factors.
_KINDS = frozenset({"sdk_key", "token", "member", "person"})
_ACTIONS = frozenset({"tenant.closed"})
# The fields of a change that mean a provider's credential.
_CREDENTIAL = frozenset({"credential", "credential_ref"})

# The mail's words for a change, by the entry's action.
SENTENCES: Mapping[str, str] = {
    "integration.changed": "a credential was changed",
    "integration.created": "an integration was made, with its credential",
    "integration.deleted": "an integration was deleted, with its credential",
    "member.added": "a member was added",
    "member.invited": "a person was invited",
    "member.joined": "an invitation was accepted",
    "member.removed": "a member was removed",
    "member.role_changed": "a member was given another role",
    "person.deactivated": "a person was deactivated",
    "person.password_changed": "a password was changed",
    "person.reactivated": "a person was reactivated",
    "person.recovery_codes_renewed": "new recovery codes were made",
    "person.role_changed": "a person was given another role",
    "person.sessions_ended": "sessions were ended",
    "person.second_factor_reset": "a second factor was reset",
    "person.second_factor_set_up": "a second factor was set up",
    "sdk_key.issued": "an SDK key was issued",
    "sdk_key.revoked": "an SDK key was revoked",
    "tenant.closed": "a tenant was closed",
    "token.issued": "an API token was issued",
    "token.revoked": "an API token was revoked",
}


class AccessRules:
    """The audit trail's rules: a change of access needs a proof, and people get a mail."""

    def demand(self, action: str, changes: Mapping[str, Any]) -> None:
        """Raises ProofRequired or TokenMayNotChangeAccess for a request without a proof."""
        if changes_access(action, changes):
            require_proof()

    def tell(self, entry: CusAuditEntry, target: Any) -> None:
        """Mail people about a change of access that a person made."""
        if changes_access(entry.action, entry.changes) and is_person_asking():
            tell_people(entry, target)


def changes_access(action: str, changes: Mapping[str, Any]) -> bool:
    """Whether an audit entry is about credentials, keys, tokens, members, roles or factors."""
    if action in _ACTIONS or action.partition(".")[0] in _KINDS:
        return True
    return not _CREDENTIAL.isdisjoint(changes)


def tell_people(entry: CusAuditEntry, target: Any) -> None:
    """Mail the person who changed access, and the person whose access it is.

    Changes by an API token are listed in one mail a day (`cus_accounts.token_digest`). The mails
    count to no tenant's limit, and each kind of change has a limit of its own: otherwise a thief
    could use up a limit with harmless changes first.
    """
    people = {person.pk: person for person in (entry.actor, _affected(target)) if person}
    if token := token_in_use():
        CusTokenChange.objects.bulk_create(
            CusTokenChange(entry=entry, person=person, token=token) for person in people.values()
        )
        return
    context = {
        "what": SENTENCES.get(entry.action, f"{entry.object_type}: {entry.action}"),
        "object": entry.object_label,
        "actor": entry.actor_label,
        "at": f"{entry.created_at:%Y-%m-%d %H:%M}",
    }
    # Sorted, so that two transactions can't deadlock: counting an address's mails locks it.
    for person in sorted(people.values(), key=lambda person: person.email.lower()):
        queue_mail(
            to=person.email,
            template="access_changed",
            context=context,
            person=person,
            alike_by="what",
        )


def _affected(target: Any) -> CusUser | None:
    """The person whose own access a change is about; None if the change is about no person."""
    if isinstance(target, CusUser):
        return target
    return target.user if isinstance(target, CusMembership | CusApiToken) else None
