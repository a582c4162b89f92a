"""A row's page in tabs: its form, and panels by subject, each tab with an address of its own."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_safe
from unfold.views import ChangeList

from integrations.cus_console import panels
from integrations.cus_console.actions import SHOWN_ROW
from integrations.cus_console.panels import Page

# The tab with the form, at the address that Django gives it.
FORM = "change"


class CusTabs:
    """Mixin for an admin page: the tabs of a row. The first is where links to the row lead."""

    page: ClassVar[Page]
    # (key, title), in their order. The keys are those of panels, and `FORM`.
    tabs: ClassVar[Sequence[tuple[str, str]]]
    change_form_outer_before_template = "admin/cus_tabs.html"

    def get_urls(self: Any) -> list[URLPattern]:
        """The page's routes, and those of its tabs."""

        def tab(request: HttpRequest, object_id: Any, tab: str) -> HttpResponse:
            answer: HttpResponse = self.tab_view(request, str(object_id), tab)
            return answer

        name = f"{self.opts.app_label}_{self.opts.model_name}_tab"
        view = self.admin_site.admin_view(require_safe(tab))
        own = [path("<uuid:object_id>/tab/<slug:tab>/", view, name=name)]
        rest: list[URLPattern] = super().get_urls()  # type: ignore[misc]  # the page's own
        return own + rest

    def tab_view(self: Any, request: HttpRequest, object_id: str, tab: str) -> HttpResponse:
        """A tab with panels."""
        row = self.get_object(request, object_id)
        if row is None:
            answer: HttpResponse = self._get_obj_does_not_exist_redirect(
                request, self.opts, object_id
            )
            return answer
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        offered = self.tabs_of(request, row, tab)
        if not any(one["active"] for one in offered):
            raise Http404
        self.warn(request, row)
        setattr(request, SHOWN_ROW, row)
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.opts,
            "original": row,
            "tabs_list": offered,
            "panels": panels.shown(self.page, request, row, tab),
            "actions_detail": self._get_actions_navigation(
                self.actions_detail, self.get_actions_detail(request, object_id), object_id
            ),
        }
        return TemplateResponse(request, "admin/cus_tab.html", context)

    def tabs_of(self: Any, request: HttpRequest, row: Any, here: str) -> list[dict[str, Any]]:
        """The tabs that have something for the person."""
        filled = {FORM, *panels.tabs_with_panels(self.page, request)}
        return [
            {
                "title": title,
                "link": self.address_of(row, key),
                "active": key == here,
            }
            for key, title in self.tabs
            if key in filled
        ]

    def address_of(self: Any, row: Any, tab: str = "") -> str:
        """The address of a row's tab, or of its first."""
        tab = tab or self.tabs[0][0]
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}"
        if tab == FORM:
            return reverse(f"{name}_{FORM}", args=[row.pk])
        return reverse(f"{name}_tab", args=[row.pk, tab])

    def warn(self, request: HttpRequest, row: Any) -> None:
        """Say what the person should know of the row before anything else."""

    def render_change_form(
        self: Any, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        if row:
            self.warn(request, row)
            context["tabs_list"] = self.tabs_of(request, row, FORM)
        page: HttpResponse = super().render_change_form(  # type: ignore[misc]
            request, context, *args, **kwargs
        )
        return page

    def get_changelist(self: Any, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        address_of = self.address_of

        class ToFirstTab(ChangeList):  # type: ignore[misc]  # unfold has no types
            """A list whose rows lead to their first tab."""

            def url_for_result(self, result: Any) -> str:
                return str(address_of(result))

        return ToFirstTab
