"""The search: one box for everything that the person may see."""

from typing import Final

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from integrations.cus_console import finders

# The parameter with which permanent links lead on to the page of the one thing that is meant.
GO: Final = "go"
_LONGEST = 200


@require_GET
def find(request: HttpRequest) -> HttpResponse:
    """What the text `q` names, by kind; where nothing was found, where we looked."""
    text = request.GET.get("q", "").strip()[:_LONGEST]
    found = finders.found(request, text)
    meant = finders.meant(found) if request.GET.get(GO) else None
    if meant:
        return redirect(meant.link)
    context = {
        **admin.site.each_context(request),
        "title": "Find",
        "q": text,
        "found": found,
        "is_narrowed": finders.integration_in(request) is not None,
        "searched": finders.searched(request),
        "most": finders.MOST_OF_A_KIND,
    }
    return render(request, "admin/cus_find.html", context)
