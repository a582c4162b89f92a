"""The rights of an API token: at most those of its person (ruling C10)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError

from integrations.cus_accounts.models import CusApiToken
from integrations.cus_web.addresses import are_within, network_of
from integrations.cus_web.errors import CusError

MOST_RANGES = 20


class TokenExceedsItsMaker(CusError):
    """A token that is made with a token has no right that this one lacks. Leave the right out, name
    address ranges within those of that token, or make the token in the console.
    """

    code, status = "token_exceeds_its_maker", 403


@dataclass(frozen=True)
class TokenRights:
    """The limits of a token. `address_ranges`: where it may be used from; empty means anywhere."""

    may_change_access: bool = False
    read_only: bool = False
    address_ranges: Sequence[str] = ()

    def checked(self) -> "TokenRights":
        """These rights with each range once, in its shortest form. Raises ValidationError."""
        if self.read_only and self.may_change_access:
            both = "A read-only token can't change access. Choose one of both."
            raise ValidationError({"may_change_access": both})
        if len(self.address_ranges) > MOST_RANGES:
            raise ValidationError({"address_ranges": f"There may be {MOST_RANGES} ranges at most."})
        try:
            ranges = dict.fromkeys(str(network_of(text)) for text in self.address_ranges)
        except ValueError as error:
            raise ValidationError({"address_ranges": str(error)}) from None
        return replace(self, address_ranges=list(ranges))

    def made_with(self, maker: CusApiToken) -> "TokenRights":
        """These rights for a token that is made with another token, `maker`.

        Without ranges the new token gets the maker's ranges. Raises TokenExceedsItsMaker if a
        right exceeds the maker's rights.
        """
        given = replace(self, address_ranges=self.address_ranges or maker.address_ranges)
        exceeds = maker.read_only or (self.may_change_access and not maker.may_change_access)
        if exceeds or not _lie_within(given.address_ranges, maker.address_ranges):
            raise TokenExceedsItsMaker
        return given

    def as_columns(self) -> dict[str, Any]:
        """The rights by the names of the columns of a token's row."""
        return {
            "may_change_access": self.may_change_access,
            "read_only": self.read_only,
            "address_ranges": list(self.address_ranges),
        }


def rights_shown(token: CusApiToken) -> str:
    """A token's rights, in words."""
    does = "Read only" if token.read_only else "Read and write"
    if token.may_change_access:
        does = "Read, write and change access"
    ranges = ", ".join(token.address_ranges)
    return f"{does}; from {ranges}" if ranges else does


def _lie_within(inner: Sequence[str], outer: Sequence[str]) -> bool:
    return not outer or are_within(inner, outer)
