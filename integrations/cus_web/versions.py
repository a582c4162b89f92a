"""Changes of what was read: a request names the version that it has seen (ruling F10)."""

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from integrations.cus_web.errors import VersionMismatch


def if_match(changed: str) -> OpenApiParameter:
    """If-Match as the API's document describes it. `changed`: what a mismatch means."""
    return OpenApiParameter(
        "If-Match",
        str,
        OpenApiParameter.HEADER,
        description=f"The ETag that was read: 412 if {changed} since.",
    )


def expected_version(
    request: Request, version: int, mismatch: type[VersionMismatch] = VersionMismatch
) -> int | None:
    """The version in If-Match; None if the request names none. Raises `mismatch` if that is another
    than `version`, which is the present one.
    """
    tags = {tag.strip() for tag in request.headers.get("If-Match", "*").split(",")}
    if "*" in tags:
        return None
    if f'"{version}"' not in tags:
        raise mismatch
    return version


def with_version(answer: Response, version: int) -> Response:
    """The answer with the version as its ETag."""
    answer["ETag"] = f'"{version}"'
    return answer
