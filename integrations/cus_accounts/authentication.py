"""How people prove who they are to the API."""

from typing import TYPE_CHECKING

from django.utils import timezone
from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from integrations.cus_accounts.login_throttle import exact_client_address
from integrations.cus_accounts.models import CusApiToken, CusUser
from integrations.cus_accounts.token_service import verify_token
from integrations.cus_web.addresses import Address
from integrations.cus_web.errors import TokenReadOnly

# What a read-only token may send.
_READING = ("GET", "HEAD")

if TYPE_CHECKING:
    # DRF imports what its settings name, and so this, before its views are there.
    pass


class CusTokenAuthentication(TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """A person's API token, as a bearer token. SDK keys are refused here.

    What a token is limited to is judged here, so that no view can forget it.
    """

    # REST framework makes an object of this for each request.
    address: Address | None = None

    def authenticate(self, request: Request) -> tuple[CusUser, CusApiToken] | None:
        """Who sends the token. Raises AuthenticationFailed, TokenReadOnly."""
        self.address = exact_client_address(request)
        found: tuple[CusUser, CusApiToken] | None = super().authenticate(request)
        if found and found[1].read_only and request.method not in _READING:
            raise TokenReadOnly
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[CusUser, CusApiToken]:
        """The token's person. One answer to all that is not valid: it tells a thief nothing."""
        text = token.decode(errors="replace")
        found = verify_token(text, address=self.address, now=timezone.now())
        if found is None:
            raise AuthenticationFailed(
                "This API token is not valid here: it is unknown, revoked or expired, it may not be "
                "used from this address, or its person has no role here any more. The console's "
                "page on API tokens says which; make a new one there."
            )
        return found.user, found


class CusSessionAuthentication(SessionAuthentication):
    """A person who is signed in to the console. Who is not gets 401, not DRF's 403."""

    def authenticate_header(self, request: Request) -> str:
        return "Session"


class CusTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # spectacular's own
    """How the OpenAPI document describes an API token."""

    target_class = CusTokenAuthentication
    name = "apiToken"
    priority = 1

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class CusSessionScheme(SessionScheme):  # type: ignore[no-untyped-call]  # spectacular's own
    """How the OpenAPI document describes a session: as it does Django's own."""

    target_class = CusSessionAuthentication  # type: ignore[assignment]  # there a name
