"""The caller's API tokens, over HTTP."""

import uuid

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_access.serializers import TokenInput, TokenIssued, TokenOutput
from integrations.cus_accounts.api import PersonView
from integrations.cus_accounts.models import CusApiToken
from integrations.cus_accounts.permissions import role_of
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_web.pages import CusPages


class IsPerson(BasePermission):
    """Every person with a role, staff included: the tokens are their own."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return role_of(request.user) is not None


class NewestTokenFirst(CusPages):
    """Newest first, by knox's column for the time of creation."""

    ordering = ("-created", "-id")


class TokensView(PersonView):
    """The caller's API tokens."""

    permission_classes = [IsPerson]
    pagination_class = NewestTokenFirst

    @extend_schema(operation_id="tokens_list", responses=TokenOutput(many=True))
    def get(self, request: Request) -> Response:
        """The caller's tokens, newest first, including ended tokens. No secrets."""
        return self.page(request, self._service(request).scope(), TokenOutput)

    @extend_schema(
        operation_id="tokens_issue",
        request=TokenInput,
        responses={201: TokenIssued, 409: None},
    )
    def post(self, request: Request) -> Response:
        """Issue a token. Its text is in this answer and nowhere else.

        A token that is made with a token has at most the rights of that token, and its ranges lie
        within the ranges of that token (the same ranges if none are given); otherwise the answer
        is 403 `token_exceeds_its_maker`. A read-only token can't make tokens.
        """
        fields = self.fields(request, TokenInput)
        made_with = request.auth if isinstance(request.auth, CusApiToken) else None
        token, text = self._service(request).issue(
            **fields, now=timezone.now(), made_with=made_with
        )
        return Response(TokenIssued(token, context={"token": text}).data, status=201)

    def _service(self, request: Request) -> CusTokenService:
        return CusTokenService(self.person(request))


class TokenView(PersonView):
    """One of the caller's API tokens."""

    permission_classes = [IsPerson]

    @extend_schema(operation_id="tokens_revoke", responses={204: None})
    def delete(self, request: Request, token_id: uuid.UUID) -> Response:
        """Revoke a token. Revoking a revoked token changes nothing."""
        service = self._service(request)
        token = service.scope().filter(id=token_id).first()
        if token is None:
            raise Http404
        service.revoke(token, now=timezone.now())
        return Response(status=204)

    def _service(self, request: Request) -> CusTokenService:
        return CusTokenService(self.person(request))
