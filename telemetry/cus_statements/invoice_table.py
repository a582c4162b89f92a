"""The check of invoices as a table: the difference, and in words what may explain it."""

from collections.abc import Iterator, Sequence
from datetime import date

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from aos_sdk.cus_cost import MICROCENTS_PER_CENT
from integrations.cus_console.amounts import dollars
from integrations.cus_console.panels import Cell, table
from telemetry.cus_statements.invoices import InvoiceCheck
from telemetry.cus_statements.month_tables import integration_link

_NONE = "-"
_WORDS = {
    "unpriced": "{calls:,} calls without a known price",
    "unpriced_units": "{calls:,} calls with a billed unit that has no price",
    "bypass": "{calls:,} calls that went past the SDK",
    "gaps": "{records:,} records that are missing",
}
_AMOUNTS = {
    "corrections": "corrections are {} of the usage",
    "rounding": "rounding adds {} to what budgets count, and nothing to the usage here",
    "receipt": "{} of the month's calls were received in other months",
}


def invoice_table(checks: Sequence[InvoiceCheck], month: date) -> SafeString:
    """A line for each integration that had calls in the month or has an invoice."""
    return table(
        ["Integration", "Invoice", "Usage, as corrected", "Difference", "Unexplained", "Because"],
        [[integration_link(check.integration), *_cells(check)] for check in checks],
        empty=f"No integration had calls in {month:%B %Y}, and no invoice is entered.",
        note="Unexplained is the difference less what budgets count for calls of unknown usage.",
    )


def _cells(check: InvoiceCheck) -> list[Cell]:
    invoice = check.invoice
    reasons = list(reasons_of(check))
    return [
        dollars(invoice.total_cents * MICROCENTS_PER_CENT) if invoice else "not entered",
        dollars(check.corrected_microcents),
        _amount(check.difference_microcents),
        _amount(check.unexplained_microcents),
        format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", ([one] for one in reasons)))
        if reasons
        else _NONE,
    ]


def _amount(microcents: int | None) -> str:
    return _NONE if microcents is None else dollars(microcents)


def reasons_of(check: InvoiceCheck) -> Iterator[str]:
    """What may explain the difference, in words; nothing that is zero."""
    found = check.explanations
    unmeasured = found["unmeasured"]
    if unmeasured["calls"]:
        yield (
            f"{unmeasured['calls']:,} calls of unknown usage, which budgets count as "
            f"{dollars(unmeasured['microcents'])}"
        )
    for name, words in _WORDS.items():
        if any(found[name].values()):
            yield words.format(**found[name])
    for name, words in _AMOUNTS.items():
        if found[name]["microcents"]:
            yield words.format(dollars(found[name]["microcents"]))
    if check.invoice and check.invoice.note:
        yield f"note: {check.invoice.note}"
