"""Errors of the product's own rules. The docstring is the message; `code` is for programs."""


class CusError(Exception):
    """Something that this product's rules do not allow."""

    code = "invalid"
    status = 400

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or " ".join((self.__doc__ or "").split())
        super().__init__(self.detail)


class CredentialUnreadable(CusError):
    """The stored credential can't be decrypted. Enter it again, or restore the key that sealed it."""

    code, status = "credential_unreadable", 409


class CredentialMissing(CredentialUnreadable):
    """There is no credential where this integration's reference points. Enter it again."""

    code, status = "credential_missing", 409


class CredentialStoreUnavailable(CusError):
    """The store that keeps this credential can't be asked just now. The credential may be fine."""

    code, status = "credential_store_unavailable", 503


class CredentialRefRefused(CusError):
    """A credential's reference must be db://, env://CUS_CREDENTIAL_… or vault://mount/path#field."""

    code, status = "credential_ref_refused", 400
