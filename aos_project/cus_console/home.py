"""The first page: the search, and the panels that the apps have registered for it."""

from typing import Any

from django.http import HttpRequest

from integrations.cus_console import panels
from integrations.cus_console.panels import Page


def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the first page, for the theme."""
    return context | {"title": "Home", "panels": panels.shown(Page.HOME, request)}
