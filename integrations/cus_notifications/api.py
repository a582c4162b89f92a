"""Who is told, over HTTP: targets, their test, the log of deliveries, and what a person mutes."""

import uuid

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_accounts.api import TENANT, PersonView
from integrations.cus_accounts.permissions import role_of, tenant_of, visible_to
from integrations.cus_notifications.models import CusNotificationTarget
from integrations.cus_notifications.serializers import (
    DeliveryFilters,
    DeliveryOutput,
    MutedInput,
    MutedOutput,
    TargetAdded,
    TargetChange,
    TargetInput,
    TargetOutput,
)
from integrations.cus_notifications.service import (
    CusMuteService,
    CusNotificationService,
    TargetNotFound,
)
from integrations.cus_web.log_context import note_whose
from integrations.cus_web.pages import NewestFirst, filters_of


class ManagesNotifications(BasePermission):
    """Operators and the tenant's admins alone: a webhook's URL may hold a secret (ruling C9)."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return role_of(request.user) in ("operator", "admin")


class HasRole(BasePermission):
    """Every person with a role, staff included: what they mute is their own."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return role_of(request.user) is not None


class _View(PersonView):
    """A view on the targets of the request's tenant."""

    permission_classes = [ManagesNotifications]
    pagination_class = NewestFirst

    def service(self, request: Request) -> CusNotificationService:
        """The service of the request's tenant and person."""
        return CusNotificationService(tenant_of(request), actor=self.person(request))

    def service_of(self, request: Request, target_id: uuid.UUID) -> CusNotificationService:
        """The service of a target's tenant. Raises TargetNotFound unless the person may see it."""
        person = self.person(request)
        targets = CusNotificationTarget.objects.filter(id=target_id, deleted_at__isnull=True)
        target = visible_to(targets, person).select_related("tenant").first()
        if target is None:
            raise TargetNotFound
        note_whose(target.tenant_id)
        return CusNotificationService(target.tenant, actor=person)


class TargetsView(_View):
    """The addresses that are told of the tenant's events."""

    @extend_schema(
        operation_id="notification_targets_list",
        parameters=[TENANT],
        responses=TargetOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        """The tenant's targets, newest first."""
        return self.page(request, self.service(request).scope(), TargetOutput)

    @extend_schema(
        operation_id="notification_targets_add",
        parameters=[TENANT],
        request=TargetInput,
        responses={201: TargetAdded, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Add an address, or the tenant's one webhook, whose secret is in this answer alone."""
        service = self.service(request)
        target, secret = service.add(**self.fields(request, TargetInput))
        return _with_secret(target, secret, status=201)


class TargetView(_View):
    """One target."""

    @extend_schema(operation_id="notification_targets_read", responses=TargetOutput)
    def get(self, request: Request, target_id: uuid.UUID) -> Response:
        """The target."""
        return Response(TargetOutput(self.service_of(request, target_id).get(target_id)).data)

    @extend_schema(
        operation_id="notification_targets_mute",
        request=TargetChange,
        responses=TargetOutput,
    )
    def patch(self, request: Request, target_id: uuid.UUID) -> Response:
        """Choose what the target is not told of."""
        service = self.service_of(request, target_id)
        target = service.get(target_id)
        fields = self.fields(request, TargetChange)
        return Response(TargetOutput(service.mute(target.id, fields["muted_kinds"])).data)

    @extend_schema(
        operation_id="notification_targets_remove",
        responses={204: OpenApiResponse(description="Told no more.")},
    )
    def delete(self, request: Request, target_id: uuid.UUID) -> Response:
        """Remove the target. What waits for it is not sent."""
        self.service_of(request, target_id).remove(target_id)
        return Response(status=204)


class TargetTestView(_View):
    """A test of one target."""

    @extend_schema(
        operation_id="notification_targets_test",
        request=None,
        responses={200: DeliveryOutput, 429: None},
    )
    def post(self, request: Request, target_id: uuid.UUID) -> Response:
        """Send a test now (a mail is queued). At most six a minute."""
        return Response(DeliveryOutput(self.service_of(request, target_id).test(target_id)).data)


class TargetSecretView(_View):
    """The secret of the webhook."""

    @extend_schema(
        operation_id="notification_targets_rotate",
        request=None,
        responses={200: TargetAdded, 409: None},
    )
    def post(self, request: Request, target_id: uuid.UUID) -> Response:
        """A new secret, in this answer alone. The one before signs too for 24 hours."""
        return _with_secret(*self.service_of(request, target_id).rotate(target_id))


class DeliveriesView(_View):
    """The log of deliveries of the last 30 days."""

    @extend_schema(
        operation_id="notification_deliveries_list",
        parameters=[DeliveryFilters],
        responses=DeliveryOutput(many=True),
    )
    def get(self, request: Request) -> Response:
        """The tenant's deliveries, newest first."""
        asked = filters_of(request, DeliveryFilters)
        chosen = {name: value for name, value in asked.items() if name != "tenant_id"}
        rows = self.service(request).deliveries().filter(**chosen)
        return self.page(request, rows, DeliveryOutput)


class MutedView(PersonView):
    """What the caller gets no mail of."""

    permission_classes = [HasRole]

    @extend_schema(operation_id="notifications_muted", responses=MutedOutput)
    def get(self, request: Request) -> Response:
        """The kinds of events that the caller has muted."""
        return Response({"kinds": CusMuteService(self.person(request)).kinds()})

    @extend_schema(operation_id="notifications_mute", request=MutedInput, responses=MutedOutput)
    def put(self, request: Request) -> Response:
        """Mute these kinds, and no others."""
        fields = self.fields(request, MutedInput)
        return Response({"kinds": CusMuteService(self.person(request)).mute(fields["kinds"])})


def _with_secret(
    target: CusNotificationTarget, secret: str | None, *, status: int = 200
) -> Response:
    shown = TargetOutput(target).data | {"secret": secret}
    return Response(shown, status=status, headers={"Cache-Control": "no-store"})
