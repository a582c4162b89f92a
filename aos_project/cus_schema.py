"""The OpenAPI document tells of errors too: any operation may answer in their one shape."""

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers

Direction = Literal["request", "response"]
_STATUSES = ("400", "401", "403", "404", "405", "406", "409", "413", "415", "429", "500", "503")


class ErrorDetail(serializers.Serializer[object]):
    """What happened and what to do, and which field is to blame."""

    code = serializers.CharField()
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True)


class ErrorResponse(serializers.Serializer[object]):
    """Every error of the API, from validation to 503."""

    type = serializers.CharField(help_text="client_error, validation_error or server_error")
    # A serializer has an attribute of that name, which nobody asks of a description.
    errors = ErrorDetail(many=True)  # type: ignore[assignment]


class CusAutoSchema(AutoSchema):
    """Describes each operation's errors beside what the view says of its answers."""

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status in _STATUSES:
            if status not in bodies:
                bodies[status] = self._get_response_for_code(ErrorResponse, status)  # type: ignore[no-untyped-call]
        return bodies
