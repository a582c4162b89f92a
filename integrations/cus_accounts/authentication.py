"""Authentication of people at the API: tokens and sessions."""

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
from integrations.cus_web.verdicts import Secret, note_verdict

# The methods that a read-only token may send.
_READING = ("GET", "HEAD")

if TYPE_CHECKING:
    # DRF imports this module through its settings, before DRF's views can be imported.
    pass


class CusTokenAuthentication(TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """A person's API token, as a bearer token. SDK keys are refused here.

    This class checks the token's limits, so that no view can forget them.
    """

    # REST framework makes a new object of this class for each request.
    address: Address | None = None

    def authenticate(self, request: Request) -> tuple[CusUser, CusApiToken] | None:
        """The token and its person. Raises AuthenticationFailed, TokenReadOnly."""
        self.address = exact_client_address(request)
        # For when the next line raises.
        note_verdict(request, Secret.TOKEN, accepted=False)
        found: tuple[CusUser, CusApiToken] | None = super().authenticate(request)
        note_verdict(request, Secret.TOKEN, accepted=found is not None)
        if found and found[1].read_only and request.method not in _READING:
            raise TokenReadOnly
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[CusUser, CusApiToken]:
        """The token's person. All invalid tokens get the same answer, so a thief learns nothing."""
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
    """A person who is signed in to the console. Without a session: 401 instead of DRF's 403."""

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
    """How the OpenAPI document describes a session: like Django's own."""

    target_class = CusSessionAuthentication  # type: ignore[assignment]  # there a name
