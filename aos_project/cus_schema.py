"""Describe in the OpenAPI document the errors that each operation can have, in one shape."""

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

Direction = Literal["request", "response"]
# Errors of every operation: no acceptable format, our fault, no database.
_ANY = frozenset({"406", "500", "503"})
# Errors of a body: malformed, in chunks, too large, of another media type.
_OF_A_BODY = frozenset({"400", "411", "413", "415"})
# Parameters that name an object that may not exist.
_NAMING = frozenset({"cursor", "tenant_id"})


class ErrorDetail(serializers.Serializer[object]):
    """What happened, what to do, and the field at fault."""

    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True)


class ErrorResponse(serializers.Serializer[object]):
    """Every error of the API, from validation to 503."""

    type = serializers.CharField(help_text="client_error, validation_error or server_error")
    # A serializer has an attribute of that name, which a mere description does not use.
    errors = ErrorDetail(many=True)  # type: ignore[assignment]


class CusAutoSchema(AutoSchema):
    """Describes an operation's errors: those that the view names, and those that follow from it.

    A view names the refusals (409) and limits (429) of its service. The others follow from its
    permissions, its body and its parameters.
    """

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        named = {status for status in bodies if status >= "400"}
        for status in sorted(named | self._errors()):
            bodies[status] = self._get_response_for_code(ErrorResponse, status)  # type: ignore[no-untyped-call]  # untyped there
        return bodies

    def _get_request_body(self, direction: Direction = "request") -> dict[str, Any] | None:
        method = self.method
        if self._deletes_by_body():
            self.method = "PUT"  # drf-spectacular knows no DELETE with a body.
        try:
            body: dict[str, Any] | None = super()._get_request_body(direction)  # type: ignore[no-untyped-call]  # untyped there
        finally:
            self.method = method
        return body

    def _deletes_by_body(self) -> bool:
        return self.method == "DELETE" and getattr(self.view, "delete_has_body", False)

    def _errors(self) -> set[str]:
        found = {*_ANY, *self._errors_of_parameters()}
        if self.view.get_authenticators():
            found |= {"401", "403"}
        sends = self.method in ("POST", "PUT", "PATCH") or self._deletes_by_body()
        if sends and self.get_request_serializer():
            found |= _OF_A_BODY
        if self.view.get_throttles():
            found.add("429")
        return found

    def _errors_of_parameters(self) -> set[str]:
        given = {(parameter["in"], parameter["name"]) for parameter in self._get_parameters()}
        found = set()
        if any(place == "query" and name != "cursor" for place, name in given):
            found.add("400")
        if any(place == "path" or name in _NAMING for place, name in given):
            found.add("404")
        if ("header", "If-Match") in given:
            found.add("412")
        return found
