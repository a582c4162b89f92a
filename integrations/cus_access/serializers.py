"""Input and output of the API of tokens."""

import dataclasses
from typing import Any

from rest_framework import serializers

from integrations.cus_accounts.models import CusApiToken
from integrations.cus_accounts.token_rights import MOST_RANGES, TokenRights
from integrations.cus_web.strict_fields import StrictBoolean, StrictInput, StrictMoment, StrictText


class TokenInput(StrictInput):
    """The name of an API token, its rights, and its end (default: in 90 days)."""

    name = StrictText(max_length=100)
    expires_at = StrictMoment(required=False, help_text="Within a year.")
    may_change_access = StrictBoolean(
        required=False, help_text="Also change credentials, keys, tokens, members and roles."
    )
    read_only = StrictBoolean(  # type: ignore[assignment]  # the contract's name
        required=False,
        help_text="Only GET and HEAD; everything else gets 403 `token_read_only`. Not together "
        "with may_change_access.",
    )
    address_ranges = serializers.ListField(
        child=StrictText(max_length=50),
        max_length=MOST_RANGES,
        required=False,
        help_text="Where the token may be used from, such as 192.0.2.0/24 or 2001:db8::/48; "
        "elsewhere it gets the 401 of an unknown token. Empty: anywhere.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Replace the fields of the token's rights by one value, `rights`."""
        names = [field.name for field in dataclasses.fields(TokenRights)]
        given = {name: attrs.pop(name) for name in names if name in attrs}
        return attrs | {"rights": TokenRights(**given)}


class TokenOutput(serializers.ModelSerializer[CusApiToken]):
    """An API token, without its secret."""

    created_at = serializers.DateTimeField(source="created", read_only=True)
    expires_at = serializers.DateTimeField(source="expiry", read_only=True)

    class Meta:
        model = CusApiToken
        fields: tuple[str, ...] = (
            "id",
            "name",
            "hint",
            "may_change_access",
            "read_only",
            "address_ranges",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "last_refused_at",
            "last_refused_address",
        )


class TokenIssued(TokenOutput):
    """A new API token, with its text: shown once."""

    token = serializers.SerializerMethodField()

    class Meta:
        model = CusApiToken
        fields = (*TokenOutput.Meta.fields, "token")

    def get_token(self, _token: CusApiToken) -> str:
        return str(self.context["token"])
