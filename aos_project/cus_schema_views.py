"""The OpenAPI document and its page: open to all if CUS_OPEN_API_DOCS is on, else 404."""

from functools import cache
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from aos_project.cus_error_pages import NOTHING_HERE

_NAME = settings.SPECTACULAR_SETTINGS["TITLE"]


class _ByFormat(DefaultContentNegotiation):
    # Only the document has several formats; all other answers ignore `?format=`.
    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE="format")


class _DocumentPage(APIView):
    # No authentication: an ended token must not be refused a page that is open to all.
    authentication_classes = []
    permission_classes = []
    http_method_names = ["get", "head"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raise NotFound while the document is closed, in every format."""
        if not settings.CUS_OPEN_API_DOCS:
            raise NotFound(NOTHING_HERE)
        super().initial(request, *args, **kwargs)

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        """Answer errors in JSON as everywhere in the API, whatever format was requested."""
        if response.exception:
            request.accepted_renderer = JSONRenderer()
            request.accepted_media_type = JSONRenderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)


@cache
def _document() -> Any:
    """The document as data. Only a release changes it, and making it takes a second."""
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


@cache
def _written(renderer: type[BaseRenderer]) -> bytes:
    """The document as a renderer writes it, which takes as long again."""
    text = renderer().render(_document(), renderer_context={})
    return text.encode() if isinstance(text, str) else text


def forget_document() -> None:
    """Have the document made anew, for tests that change what it describes."""
    _document.cache_clear()
    _written.cache_clear()


def _written_once(renderer: type[BaseRenderer]) -> type[BaseRenderer]:
    """The renderer, which writes the document when a process first needs it."""

    def render(_self: BaseRenderer, *_args: Any, **_kwargs: Any) -> bytes:
        return _written(renderer)  # type: ignore[arg-type]  # its types hide that classes have hashes

    return type(renderer.__name__, (renderer,), {"render": render})


class SchemaView(_DocumentPage, SpectacularAPIView):
    """The OpenAPI document, as YAML or with `?format=json`."""

    content_negotiation_class = _ByFormat
    renderer_classes = [*map(_written_once, SpectacularAPIView.renderer_classes)]

    @extend_schema(exclude=True)
    def get(self, request: Request, *_args: Any, **_kwargs: Any) -> Response:
        """The document."""
        name = f"{_NAME}.{request.accepted_renderer.format}"
        return Response(headers={"Content-Disposition": f'inline; filename="{name}"'})


class DocsView(_DocumentPage, SpectacularSwaggerSplitView):
    """The document as a page on which to read and try the API."""
