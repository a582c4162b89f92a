"""A tenant's people and settings over HTTP."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_accounts.api import TENANT, PersonView
from integrations.cus_accounts.models import CusMembership
from integrations.cus_accounts.permissions import IsTenantPerson, role_of, tenant_of, visible_to
from integrations.cus_tenancy.member_service import CusMemberService
from integrations.cus_tenancy.serializers import (
    MemberChange,
    MemberInput,
    MemberOutput,
    TenantChange,
    TenantOutput,
)
from integrations.cus_tenancy.settings_service import CusTenantSettingsService
from integrations.cus_web.errors import MemberNotFound
from integrations.cus_web.pages import NewestFirst


class IsOfTheTenant(IsTenantPerson):
    """Operators, and people of the tenant; support and finance see no members (C9)."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS and role_of(request.user) in ("support", "finance"):
            return False
        return super().has_permission(request, view)


class MembersView(PersonView):
    """The people of the caller's tenant."""

    permission_classes = [IsOfTheTenant]
    pagination_class = NewestFirst

    @extend_schema(
        operation_id="members_list", parameters=[TENANT], responses=MemberOutput(many=True)
    )
    def get(self, request: Request) -> Response:
        """List people and open invitations, newest first."""
        return self.page(request, self._service(request).scope(), MemberOutput)

    @extend_schema(
        operation_id="members_invite",
        parameters=[TENANT],
        request=MemberInput,
        responses={201: MemberOutput, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Invite an address, by mail."""
        service = self._service(request)
        member = service.invite(**self.fields(request, MemberInput))
        return Response(MemberOutput(member).data, status=201)

    def _service(self, request: Request) -> CusMemberService:
        return CusMemberService(tenant_of(request), actor=self.person(request))


class MemberView(PersonView):
    """A member or an invitation of the caller's tenant."""

    permission_classes = [IsOfTheTenant]

    @extend_schema(operation_id="members_read", responses=MemberOutput)
    def get(self, request: Request, member_id: uuid.UUID) -> Response:
        """Read one of the tenant's people or invitations."""
        return Response(MemberOutput(self._service(request, member_id).get(member_id)).data)

    @extend_schema(
        operation_id="members_change",
        request=MemberChange,
        responses={200: MemberOutput, 409: None},
    )
    def patch(self, request: Request, member_id: uuid.UUID) -> Response:
        """Give a member another role. People can't change their own role."""
        service = self._service(request, member_id)
        fields = self.fields(request, MemberChange)
        return Response(MemberOutput(service.change_role(member_id, **fields)).data)

    @extend_schema(operation_id="members_remove", responses={204: None, 409: None})
    def delete(self, request: Request, member_id: uuid.UUID) -> Response:
        """Remove a member, or withdraw an invitation."""
        self._service(request, member_id).remove(member_id)
        return Response(status=204)

    def _service(self, request: Request, member_id: uuid.UUID) -> CusMemberService:
        person = self.person(request)
        rows = visible_to(CusMembership.objects.select_related("tenant"), person)
        member = rows.filter(id=member_id).first()
        if member is None:
            raise MemberNotFound
        return CusMemberService(member.tenant, actor=person)


class TenantView(PersonView):
    """The caller's tenant and its settings."""

    @extend_schema(operation_id="tenant_read", parameters=[TENANT], responses=TenantOutput)
    def get(self, request: Request) -> Response:
        """Read the tenant's name and settings."""
        return Response(TenantOutput(tenant_of(request)).data)

    @extend_schema(
        operation_id="tenant_change",
        parameters=[TENANT],
        request=TenantChange,
        responses={200: TenantOutput, 409: None},
    )
    def patch(self, request: Request) -> Response:
        """Choose the time zone in which usage is read. Budgets go by UTC."""
        service = CusTenantSettingsService(tenant_of(request), actor=self.person(request))
        return Response(TenantOutput(service.change(**self.fields(request, TenantChange))).data)
