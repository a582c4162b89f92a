"""The search: one box for everything that the person may see."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from integrations.cus_console import finders

_LONGEST = 200


@require_GET
def find(request: HttpRequest) -> HttpResponse:
    """What the text `q` names, by kind; where nothing was found, where we looked."""
    text = request.GET.get("q", "").strip()[:_LONGEST]
    context = {
        **admin.site.each_context(request),
        "title": "Find",
        "q": text,
        "found": finders.found(request, text),
        "kinds": finders.kinds(request),
        "most": finders.MOST_OF_A_KIND,
    }
    return render(request, "admin/cus_find.html", context)
