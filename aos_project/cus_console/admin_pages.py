"""When the console's pages are loaded: with the routes, by processes that serve them."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class CusAdminConfig(SimpleAdminConfig):
    """Django's admin, whose pages `aos_project.urls` loads.

    Workers and commands show none, and start sooner and smaller without them.
    """

    def ready(self) -> None:
        """Check the pages, as Django does once it has loaded them."""
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(_check_pages, checks.Tags.admin)


def _check_pages(app_configs: Any, **kwargs: Any) -> list[Any]:
    admin.autodiscover()
    found: list[Any] = check_admin_app(app_configs, **kwargs)
    return found
