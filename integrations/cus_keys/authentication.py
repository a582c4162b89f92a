"""Authentication of programs by SDK keys."""

from typing import TYPE_CHECKING

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from aos_sdk.cus_wire import INTEGRATION_KEY_HEADER
from integrations.cus_keys.verifier import SdkPrincipal, verify_sdk_key
from integrations.cus_web.log_context import note_whose
from integrations.cus_web.sdk_routes import key_in
from integrations.cus_web.verdicts import Secret, note_verdict

if TYPE_CHECKING:
    # DRF imports this module through its settings, before DRF's views can be imported.
    from rest_framework.views import APIView


class CusSdkKeyAuthentication(BaseAuthentication):
    """The key in `X-CUS-Integration-Key`, or as a bearer token."""

    def authenticate(self, request: Request) -> tuple[SdkPrincipal, None] | None:
        text = key_text(request)
        if not text:
            return None
        # For when the next line raises.
        note_verdict(request, Secret.KEY, accepted=None)
        principal = verify_sdk_key(text, now=timezone.now())
        note_verdict(request, Secret.KEY, accepted=principal is not None)
        if principal is None:
            raise AuthenticationFailed(
                "This SDK key is not valid here: it is unknown, revoked or expired. "
                "Issue a new one for the integration."
            )
        note_whose(principal.tenant_id, principal.integration_id)
        return principal, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class IsSdkKey(BasePermission):
    """Only a program with an SDK key may call the view."""

    message = "Only an SDK key may do this. Send it in the header X-CUS-Integration-Key."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return isinstance(request.user, SdkPrincipal)


class CusSdkKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # spectacular's own
    """How the OpenAPI document describes an SDK key."""

    target_class = CusSdkKeyAuthentication
    name = "sdkKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": INTEGRATION_KEY_HEADER}


def key_text(request: Request) -> str:
    """The SDK key of a request, or an empty text."""
    headers = request.headers
    return key_in(headers.get(INTEGRATION_KEY_HEADER, ""), headers.get("Authorization", ""))
