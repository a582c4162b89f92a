"""The console's admin site."""

from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin import sites
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from unfold.apps import DefaultAppConfig
from unfold.sites import UnfoldAdminSite


class CusConsoleSite(UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    """unfold's site, whose pages do not ask for what they do not show."""

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        """The lists that the person may open, by application; found once a template shows them.

        Django asks for them on every page. Our sidebar takes their place, so hardly a page shows
        them, and to find them all rights to all lists are asked for.
        """
        return SimpleLazyObject(partial(super().get_app_list, request, app_label))


class CusConsoleConfig(DefaultAppConfig):  # type: ignore[misc]  # unfold has no types
    """unfold with our site."""

    default = False

    def ready(self) -> None:
        admin.site = sites.site = CusConsoleSite()
