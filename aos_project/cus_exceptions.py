"""Convert exceptions of API views to answers, beyond those of drf-standardized-errors."""

from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DataError, InterfaceError, OperationalError
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import serializers
from rest_framework.exceptions import APIException, ParseError

from integrations.cus_web.errors import CusError

_RETRY_AFTER_SECONDS = 2


class Unavailable(APIException):
    """503: the database can't be reached or is too busy. Nothing was stored."""

    status_code = 503
    default_code = "unavailable"
    default_detail = "The service can't reach its database just now. Nothing was stored; try again."
    # DRF sends it as Retry-After.
    wait = _RETRY_AFTER_SECONDS


class RuleBroken(APIException):
    """A broken rule of the product, with the rule's own text and status."""

    def __init__(self, error: CusError) -> None:
        self.status_code = error.status
        # DRF sends it as Retry-After.
        self.wait = error.retry_after_seconds
        if error.status == Unavailable.status_code:
            self.wait = self.wait or _RETRY_AFTER_SECONDS
        super().__init__({error.attr: [error.detail]} if error.attr else error.detail, error.code)


class CusExceptionHandler(ExceptionHandler):
    """Answers 503 if the database is absent, so that senders keep their events and retry."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        """Convert a database failure to 503, and a broken rule to its own status, not to 500."""
        if isinstance(exc, OperationalError | InterfaceError):
            return Unavailable()
        if isinstance(exc, CusError):
            return RuleBroken(exc)
        if isinstance(exc, ModelValidationError):
            return serializers.ValidationError(serializers.as_serializer_error(exc))
        if isinstance(exc, DataError):
            return ParseError("A value is too large to be stored. Nothing was stored.")
        converted: Exception = super().convert_known_exceptions(exc)
        return converted
