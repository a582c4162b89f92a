"""How API views' exceptions become answers, beyond what drf-standardized-errors knows."""

from django.db import InterfaceError, OperationalError
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework.exceptions import APIException

from integrations.cus_errors import CusError

_RETRY_AFTER_SECONDS = 2


class Unavailable(APIException):
    """503: the database can't be reached or is too busy. Nothing was stored."""

    status_code = 503
    default_code = "unavailable"
    default_detail = "The service can't reach its database just now. Nothing was stored; try again."
    # DRF sends it as Retry-After.
    wait = _RETRY_AFTER_SECONDS


class CusExceptionHandler(ExceptionHandler):
    """Names an absent database for what it is, so that senders keep their events and retry."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        """A failure of the database is 503, never 500."""
        if isinstance(exc, OperationalError | InterfaceError):
            return Unavailable()
        if isinstance(exc, CusError):
            return _of_ours(exc)
        converted: Exception = super().convert_known_exceptions(exc)
        return converted


def _of_ours(error: CusError) -> APIException:
    """The same in the API's terms: our rules know no HTTP framework."""
    exception = APIException(error.detail, code=error.code)
    exception.status_code = error.status
    return exception
