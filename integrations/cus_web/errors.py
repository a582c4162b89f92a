"""Errors of the product's own rules. The docstring is the message; `code` is for programs."""


class CusError(Exception):
    """The product's rules do not allow this."""

    code = "invalid"
    status = 400
    # The input field at fault, if there is one.
    attr: str | None = None
    # After how many seconds a retry may succeed.
    retry_after_seconds: int | None = None

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or " ".join((self.__doc__ or "").split())
        super().__init__(self.detail)


class CredentialUnreadable(CusError):
    """The stored credential can't be decrypted. Enter it again, or restore the key that sealed it."""

    code, status = "credential_unreadable", 409


class CredentialMissing(CredentialUnreadable):
    """The place that this integration's reference names has no credential. Enter it again."""

    code, status = "credential_missing", 409


class CredentialStoreUnavailable(CusError):
    """The credential's store does not answer just now. The credential itself may be valid."""

    code, status = "credential_store_unavailable", 503


class CredentialRequired(CusError):
    """This change would send the stored credential to another address than it was entered for.
    Enter the credential again together with the change.
    """

    code, attr = "credential_required", "credential"


class CredentialRefRequired(CredentialRequired):
    """This change would send the credential to another address than it was entered for. Name its
    credential_ref again together with the change, or enter a credential.
    """

    attr = "credential_ref"


class CredentialElsewhere(CusError):
    """This credential was entered for another address than the one that the configuration leads
    to now, so it is not sent. Enter the credential again, or correct the configuration.
    """

    code, status = "credential_elsewhere", 409


class CredentialRefRefused(CusError):
    """A credential's reference must be db://, env://CUS_CREDENTIAL_… or vault://mount/path#field."""

    code, attr = "credential_ref_refused", "credential_ref"


class ProviderUnsupported(CusError):
    """This release has no rules, health check and prices for this provider type, so no integration
    of this type can be made, changed or checked. Choose another provider type.
    """

    code, attr = "provider_unsupported", "provider_type"


class IntegrationNotFound(CusError):
    """There is no such integration."""

    code, status = "not_found", 404


class NameTaken(CusError):
    """Another integration of this tenant has that name. Choose another one."""

    code, status, attr = "name_taken", 409, "name"


class MomentTaken(CusError):
    """This model has a price from that moment on already. Choose another moment."""

    code, attr = "moment_taken", "valid_from"


class IntegrationChanged(CusError):
    """Another change of this integration came at the same moment. Read it again, then change it."""

    code, status = "integration_changed", 409


class VersionMismatch(CusError):
    """The integration has changed since you read it. Read it again, and send its new ETag."""

    code, status = "precondition_failed", 412


class InvalidTransition(CusError):
    """The integration can't go from its state to that one."""

    code, status = "invalid_transition", 409


class LevelNotReachable(CusError):
    """The enforcement level goes up one rung at a time, and down freely."""

    code, status, attr = "level_not_reachable", 409, "enforcement_level"


class TenantClosed(CusError):
    """This tenant is closed, so it can't get new objects or start integrations."""

    code, status = "tenant_closed", 409


class OperatorsOnly(CusError):
    """Only an operator may do this."""

    code, status = "permission_denied", 403


class ProofRequired(CusError):
    """This changes who or what has access, and you last proved who you are more than 5 minutes
    ago. Prove it again in the console at /admin/prove/, then repeat the request.
    """

    code, status = "proof_required", 403


class TokenMayNotChangeAccess(CusError):
    """This API token may not change credentials, keys, tokens, members or roles. Make one with
    `may_change_access`, or change it in the console.
    """

    code, status = "token_may_not_change_access", 403


class TokenReadOnly(CusError):
    """This API token may only read: it may send GET and HEAD, nothing else. Use a token without
    `read_only`, or do it in the console.
    """

    code, status = "token_read_only", 403


class TenantNameTaken(CusError):
    """Another tenant has that name. Choose another one; closed tenants keep theirs."""

    code, status, attr = "name_taken", 409, "name"


class MemberNotFound(CusError):
    """There is no such member."""

    code, status = "not_found", 404


class AlreadyMember(CusError):
    """This address is a member of the tenant already, or invited. Change its role instead."""

    code, status, attr = "already_member", 409, "email"


class OwnRole(CusError):
    """You can't change your own role. Ask another admin, or an operator."""

    code, status, attr = "own_role", 403, "role"


class LastAdmin(CusError):
    """This is the tenant's last admin. Make another member an admin first, or ask an operator."""

    code, status = "last_admin", 409


class QuotaExceeded(CusError):
    """The quota is used up (ruling C11)."""

    code, status = "quota_exceeded", 409


class MailLimitReached(CusError):
    """The limit of mails is reached (ruling C11). Try again later."""

    code, status = "mail_limit_reached", 429
    retry_after_seconds = 3_600
