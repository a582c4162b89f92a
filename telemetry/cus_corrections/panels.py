"""Panels on corrections."""

from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.safestring import SafeString

from integrations.cus_console.amounts import exact_dollars
from integrations.cus_console.panels import table
from telemetry.cus_corrections.models import CusCostAdjustment
from telemetry.cus_evidence.models import CusLLMUsage

_MOST = 50


def corrections_of(_request: HttpRequest, usage: CusLLMUsage) -> SafeString | None:
    """The corrections of a call's exact cost, in their order; None without any."""
    rows = CusCostAdjustment.objects.filter(tenant_id=usage.tenant_id, usage_id=usage.id)
    found = [
        [
            str(localize(one.created_at)),
            one.old_version or "no price",
            one.new_version,
            exact_dollars(one.difference_microcents),
        ]
        for one in rows.order_by("number")[:_MOST]
    ]
    if not found:
        return None
    headers = ["Corrected", "Price before", "Price now", "Adds to the exact cost"]
    return table(headers, found, empty="", note="The record itself stays as it was received.")
