"""The form in which people enter a limit: amounts of money in dollars."""

from decimal import Decimal
from typing import Any, Final, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from integrations.cus_accounts.models import CusUser
from integrations.cus_console.forms import CusServiceForm
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import COUNTED, MUTABLE, CusLimitService, LimitChanged

COUNTS = ("integration", *COUNTED)
_NEW: Final[dict[str, Any]] = {
    "scope": CusScopedLimit.Scope.AGENT,
    "window": CusScopedLimit.Window.DAY,
}
# What the service chooses where a box is empty, and keeps where a limit is changed.
_OPTIONAL = ("basis", "result", "valid_from")


def amount_box(help_text: str = "", **options: Any) -> forms.DecimalField:
    """A box for an amount: dollars, tokens or calls. `options` are those of a field."""
    return forms.DecimalField(
        help_text=help_text,
        **options,
        min_value=Decimal("0.01"),
        max_digits=21,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "0.01"}),
    )


def entered_amount(unit: str, amount: Decimal) -> int:
    """The amount in the unit, from its box: cents from dollars. Raises ValidationError."""
    if unit == CusScopedLimit.Unit.CENTS:
        return int(amount * 100)
    if amount != int(amount):
        raise ValidationError({"amount": f"Enter a whole number of {unit}."})
    return int(amount)


def shown_amount(unit: str, amount: int) -> Decimal:
    """The amount as its box has it."""
    return Decimal(amount).scaleb(-2 if unit == CusScopedLimit.Unit.CENTS else 0)


class LimitForm(CusServiceForm):
    """Boxes for the arguments of the service of limits."""

    amount = amount_box("US dollars where the unit is cents, else tokens or calls.")
    basis = forms.ChoiceField(
        label="Cents are compared",
        required=False,
        choices=[("", "as the integration's budget"), *CusScopedLimit.Basis.choices],
        widget=UnfoldAdminSelectWidget,
    )
    result = forms.ChoiceField(
        label="A call that does not fit",
        required=False,
        choices=[("", "as usual: rates throttle, amounts block"), *CusScopedLimit.Result.choices],
        widget=UnfoldAdminSelectWidget,
    )
    # The version that the person saw; a later version means that another person changed the row.
    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = CusScopedLimit
        fields = (*COUNTS, *MUTABLE)
        help_texts = {
            "integration": "For a limit of the tenant: any of its integrations.",
            "tag": "For a tag alone: team counts calls with the tag team=search.",
            "value": "Exactly as calls have it; of a tag the text after “=”. Empty: each has this "
            "limit, and none for all calls.",
            "window": "In UTC. All time is for sessions alone.",
            "warning_percent": "Calls are warned from this share on.",
            "valid_from": "Empty: at once.",
            "valid_until": "Then the limit ends by itself. Until then it stands in for a permanent "
            "limit of the same kind. Empty: a permanent limit.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("valid_from", "tag", "value"):
            # A page for people who may only read has no boxes, so the name may be absent.
            if name in self.fields:
                self.fields[name].required = False
        if "integration" in self.fields:
            self.fields["integration"].required = True
        if self.is_new:
            self.initial = {**_NEW, **self.initial}
        else:
            self.initial["amount"] = shown_amount(self.instance.unit, self.instance.amount)
            self.initial["seen_version"] = self.instance.version

    def call_service(self) -> CusScopedLimit:
        cleaned = self.cleaned_data
        unit = cleaned["unit"] if self.is_new else self.instance.unit
        values = {name: cleaned[name] for name in MUTABLE} | {
            "amount": entered_amount(unit, cleaned["amount"])
        }
        given = {k: v for k, v in values.items() if k not in _OPTIONAL or v not in (None, "")}
        actor = cast("CusUser", self.request.user)
        if not self.is_new:
            return self._change(actor, given)
        counts = {name: cleaned[name] for name in COUNTS if name != "integration"}
        service = CusLimitService(cleaned["integration"], actor=actor)
        counts |= {"tag": cleaned["tag"] or "", "value": cleaned["value"] or None}
        return service.create(now=timezone.now(), **counts, **given)

    def _change(self, actor: CusUser, values: dict[str, Any]) -> CusScopedLimit:
        service = CusLimitService.of(self.instance, actor=actor)
        try:
            # A missing version counts as 0, which never is the present version.
            version = self.cleaned_data["seen_version"] or 0
            return service.change(
                self.instance.id, now=timezone.now(), expected_version=version, **values
            )
        except LimitChanged:
            raise ValidationError(
                "Another person changed this limit while you had it open, so your changes were not "
                "saved. Open it again, and enter your changes once more."
            ) from None
