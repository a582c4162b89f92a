"""The console's pages that belong to no model: who may open each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path

from integrations.cus_accounts.permissions import role_of


@dataclass(frozen=True)
class OwnPage:
    """A page below `/admin/`: its address, the name of its route, and the roles that it is for."""

    name: str
    route: str
    view: Callable[..., HttpResponseBase]
    viewers: Sequence[str]

    def is_open_to(self, request: HttpRequest) -> bool:
        """Whether the person may open the page."""
        return role_of(request.user) in self.viewers

    @property
    def url(self) -> URLPattern:
        """The page's route. It asks for a sign-in, and answers 403 to roles that it is not for."""

        @wraps(self.view)
        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not self.is_open_to(request):
                raise PermissionDenied
            return self.view(request, *args, **kwargs)

        return path(f"admin/{self.route}", admin.site.admin_view(view), name=self.name)
