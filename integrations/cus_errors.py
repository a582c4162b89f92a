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
