"""The system page, for operators: "all is well", or what is not."""

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from aos_project.cus_console.system_checks import CHECKS, Checked
from integrations.cus_console.own_page import Layout, shown
from integrations.cus_console.panels import ShownPanel, name_values, table
from telemetry.cus_clock import database_now


@require_safe
def system(request: HttpRequest) -> HttpResponse:
    """Jobs, queues, partitions, rollups, seals, keys and mail, and above them what is not well."""
    now = database_now()
    found = [(key, title, check(now)) for key, title, check in CHECKS]
    problems = [(key, text) for key, _, checked in found for text in checked.problems]
    lead: str | SafeString = f"All is well, checked {now:%H:%M:%S} UTC."
    if problems:
        lines = format_html_join("", '<li><a href="#{}" class="underline">{}</a></li>', problems)
        lead = format_html("Not well, checked {} UTC:<ul>{}</ul>", f"{now:%H:%M:%S}", lines)
    panels = [ShownPanel(key, title, _table(checked)) for key, title, checked in found]
    return shown(request, Layout(title="System", lead=lead, panels=panels))


def _table(checked: Checked) -> SafeString:
    if len(checked.headers) == 2:
        return name_values([(str(name), value) for name, value in checked.rows])
    return table(checked.headers, checked.rows, empty=checked.empty)
