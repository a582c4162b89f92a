"""SDK keys over HTTP: the whole key appears once, in the answer that issues it."""

import uuid

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.permissions import role_of
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_lifecycle.api import found_integration
from integrations.cus_web.pages import NewestFirst
from integrations.cus_web.strict_fields import StrictInput, StrictMoment, StrictText


class SdkKeyInput(StrictInput):
    """The fields of a new key."""

    label = StrictText(  # type: ignore[assignment]  # the name of an attribute of its class, too
        max_length=100, required=False, allow_blank=True
    )
    expires_at = StrictMoment(required=False, allow_null=True, help_text="null: never.")


class SdkKeyOutput(serializers.ModelSerializer[CusSdkKey]):
    """A key, shown by its last four characters, and its state."""

    class Meta:
        model = CusSdkKey
        fields: tuple[str, ...] = (
            "id",
            "label",
            "hint",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        )


class SdkKeyIssued(SdkKeyOutput):
    """A new key with its whole text, which no later answer shows."""

    key = serializers.CharField(help_text="tenant_id:integration_id:secret")

    class Meta(SdkKeyOutput.Meta):
        fields = (*SdkKeyOutput.Meta.fields, "key")


class ManagesKeys(BasePermission):
    """Operators and the tenant's admins alone see keys (ruling C9)."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return role_of(request.user) in ("operator", "admin")


class SdkKeysView(PersonView):
    """The keys of an integration. Two may be valid at once, so that one can replace the other."""

    permission_classes = [ManagesKeys]
    pagination_class = NewestFirst

    @extend_schema(operation_id="sdk_keys_list", responses=SdkKeyOutput(many=True))
    def get(self, request: Request, integration_id: uuid.UUID) -> Response:
        """The integration's keys, newest first, including revoked and expired keys."""
        service = CusSdkKeyService(found_integration(request, integration_id))
        return self.page(request, service.scope(), SdkKeyOutput)

    @extend_schema(
        operation_id="sdk_keys_issue",
        request=SdkKeyInput,
        responses={201: SdkKeyIssued, 409: None},
    )
    def post(self, request: Request, integration_id: uuid.UUID) -> Response:
        """Issue a key. 409 while the integration has two valid keys."""
        integration = found_integration(request, integration_id)
        fields = self.fields(request, SdkKeyInput)
        key, text = CusSdkKeyService(integration, actor=self.person(request)).issue(**fields)
        shown = SdkKeyOutput(key).data | {"key": text}
        return Response(shown, status=201, headers={"Cache-Control": "no-store"})


class SdkKeyView(PersonView):
    """One key of an integration."""

    permission_classes = [ManagesKeys]

    @extend_schema(
        operation_id="sdk_keys_revoke",
        responses={204: OpenApiResponse(description="Refused everywhere within two seconds.")},
    )
    def delete(self, request: Request, integration_id: uuid.UUID, key_id: uuid.UUID) -> Response:
        """Revoke a key for good. Revoking a revoked key changes nothing."""
        integration = found_integration(request, integration_id)
        CusSdkKeyService(integration, actor=self.person(request)).revoke(key_id)
        return Response(status=204)
