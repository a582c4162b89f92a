"""The caller's API tokens, over HTTP."""

import uuid

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_login_models import CusApiToken
from integrations.cus_permissions import role_of
from integrations.cus_price_overrides_api import NewestFirst
from integrations.cus_serializers import TokenInput, TokenIssued, TokenOutput
from integrations.cus_token_service import CusTokenService


class IsPerson(BasePermission):
    """Anybody with a role, support staff too: these are their own tokens."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return role_of(request.user) is not None


class NewestTokenFirst(NewestFirst):
    """By the column that knox names."""

    ordering = ("-created", "-id")


class TokensView(APIView):
    """The caller's API tokens."""

    permission_classes = [IsPerson]

    @extend_schema(operation_id="tokens_list", responses=TokenOutput(many=True))
    def get(self, request: Request) -> Response:
        """The caller's tokens, newest first, also the ended ones. No secrets."""
        pages = NewestTokenFirst()
        page = pages.paginate_queryset(_service(request).scope(), request, self)
        return pages.get_paginated_response(TokenOutput(page, many=True).data)

    @extend_schema(operation_id="tokens_issue", request=TokenInput, responses={201: TokenIssued})
    def post(self, request: Request) -> Response:
        """Issue a token. Its text is in this answer and nowhere else."""
        fields = TokenInput(data=request.data)
        fields.is_valid(raise_exception=True)
        made_with = request.auth if isinstance(request.auth, CusApiToken) else None
        token, text = _service(request).issue(
            **fields.validated_data, now=timezone.now(), made_with=made_with
        )
        return Response(TokenIssued(token, context={"token": text}).data, status=201)


class TokenView(APIView):
    """One of the caller's API tokens."""

    permission_classes = [IsPerson]

    @extend_schema(operation_id="tokens_revoke", responses={204: None})
    def delete(self, request: Request, token_id: uuid.UUID) -> Response:
        """Revoke a token. Revoking a revoked one changes nothing."""
        service = _service(request)
        token = service.scope().filter(id=token_id).first()
        if token is None:
            raise Http404
        service.revoke(token, now=timezone.now())
        return Response(status=204)


def _service(request: Request) -> CusTokenService:
    return CusTokenService(request.user)  # type: ignore[arg-type]  # as IsPerson made sure
