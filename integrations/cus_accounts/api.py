"""What all views for people have in common."""

import uuid
from typing import Any, cast

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import IsTenantPerson
from integrations.cus_web.json import CusJsonParser, LengthRequired
from integrations.cus_web.pages import CusPages

# OPTIONS is not offered: /api/schema describes the API.
OFFERED = ["get", "head", "post", "put", "patch", "delete"]

TENANT = OpenApiParameter(
    "tenant_id",
    uuid.UUID,
    description="The tenant. Operators, support and finance of all tenants must name it; others have their own tenant.",
)


class PersonView(APIView):
    """A view for people with a role: JSON in, JSON out."""

    permission_classes = [IsTenantPerson]
    parser_classes = [CusJsonParser]
    # Set by views that list.
    pagination_class: type[CusPages]
    http_method_names = OFFERED

    def check_permissions(self, request: Request) -> None:
        # Before the check of roles: a method that the URL lacks gets 405, whatever the role.
        if request.successful_authenticator and request.method not in self.allowed_methods:
            self.http_method_not_allowed(request)
        super().check_permissions(request)

    def person(self, request: Request) -> CusUser:
        """The person who sends the request; the permissions made sure that there is a person."""
        return cast("CusUser", request.user)

    def fields(
        self,
        request: Request,
        serializer: type[serializers.Serializer[object]],
        *,
        partial: bool = False,
    ) -> dict[str, Any]:
        """The body as `serializer` checks it. Raises ValidationError, by field."""
        checked = serializer(data=self._body(request), partial=partial)
        checked.is_valid(raise_exception=True)
        return dict(cast("dict[str, Any]", checked.validated_data))

    def page(
        self,
        request: Request,
        rows: QuerySet[Any],
        output: type[serializers.ModelSerializer[Any]],
        **context: Any,
    ) -> Response:
        """A page of `rows`, as the view's `pagination_class` makes them."""
        pages = self.pagination_class()
        page = pages.paginate_queryset(rows, request, self)
        return pages.get_paginated_response(output(page, many=True, context=context).data)

    def _body(self, request: Request) -> Any:
        if "Transfer-Encoding" in request.headers and not request.META.get("CONTENT_LENGTH"):
            raise LengthRequired
        # The CSRF check has read the body of a form, so the body would look empty below.
        sent = request.META.get("CONTENT_LENGTH") not in (None, "", "0")
        if sent and (request.content_type or "").partition(";")[0].strip().lower() != (
            "application/json"
        ):
            raise UnsupportedMediaType(request.content_type or "")
        return request.data
