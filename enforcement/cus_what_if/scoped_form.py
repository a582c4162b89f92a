"""Boxes in which people try limits at scopes: those that hold now, and new ones."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from enforcement.cus_what_if.proposals import SCOPED_FIELDS
from integrations.cus_limits.form import amount_box, entered_amount, shown_amount
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.words import whose_text, window_text

_MOST_SHOWN: Final = 20
_NEW_ROWS: Final = 2
_UNITS: Final = {"cents": "US dollars", "tokens": "tokens", "calls": "calls"}


class ScopedLimitsForm(forms.Form):
    """The amount of each limit that holds now, the earliest first. An empty box leaves one out."""

    def __init__(self, limits: Sequence[CusScopedLimit], data: Any = None) -> None:
        """`limits`: those that hold now. Those that are not shown stay as they are."""
        super().__init__(data)
        self.limits = limits
        self.shown = limits[:_MOST_SHOWN]
        self.fields |= {_name(limit): _box_of(limit) for limit in self.shown}

    @property
    def more(self) -> int:
        """How many limits hold that are not shown."""
        return len(self.limits) - len(self.shown)

    def clean(self) -> dict[str, Any]:
        for limit in self.shown:
            _clean_amount(self, _name(limit), limit.unit)
        return self.cleaned_data

    def proposed(self) -> Iterator[dict[str, Any]]:
        """The limits to try, as fields of the service."""
        for limit in self.limits:
            amount = self.cleaned_data.get(_name(limit), limit.amount)
            if amount is not None:
                yield {name: getattr(limit, name) for name in SCOPED_FIELDS} | {"amount": amount}


class NewLimitForm(forms.Form):
    """A limit that does not hold now; without an amount there is none."""

    scope = forms.ChoiceField(
        choices=CusScopedLimit.Scope.choices,
        initial=CusScopedLimit.Scope.AGENT,
        widget=UnfoldAdminSelectWidget,
    )
    tag = forms.CharField(
        label="Tag's key",
        required=False,
        max_length=64,
        help_text="For a tag alone.",
        widget=UnfoldAdminTextInputWidget,
    )
    value = forms.CharField(
        label="Its name",
        required=False,
        max_length=100,
        help_text="Empty: each has this limit.",
        widget=UnfoldAdminTextInputWidget,
    )
    unit = forms.ChoiceField(choices=CusScopedLimit.Unit.choices, widget=UnfoldAdminSelectWidget)
    window = forms.ChoiceField(
        choices=CusScopedLimit.Window.choices,
        initial=CusScopedLimit.Window.DAY,
        widget=UnfoldAdminSelectWidget,
    )
    amount = amount_box(
        "US dollars where the unit is cents, else tokens or calls. Empty: no limit.",
        required=False,
    )

    def clean(self) -> dict[str, Any]:
        _clean_amount(self, "amount", self.cleaned_data.get("unit"))
        return self.cleaned_data

    def proposed(self) -> Iterator[dict[str, Any]]:
        """The limit to try, if an amount was entered."""
        if self.cleaned_data["amount"] is not None:
            yield self.cleaned_data | {"value": self.cleaned_data["value"] or None}


class ScopedBoxes:
    """The boxes of a page: of limits that hold now, and of some new ones."""

    def __init__(self, limits: Sequence[CusScopedLimit], data: Any = None) -> None:
        self.present = ScopedLimitsForm(limits, data)
        # A person who sends the form without these boxes adds no limit.
        names = [f"new{number}" for number in range(_NEW_ROWS)]
        self.new = [
            NewLimitForm(data if data and f"{name}-scope" in data else None, prefix=name)
            for name in names
        ]
        self._sent = [form for form in self.new if form.is_bound]

    def is_valid(self) -> bool:
        """Whether all that was sent can be proposed; errors stand at their boxes."""
        return all([self.present.is_valid(), *(form.is_valid() for form in self._sent)])

    def proposed(self) -> list[dict[str, Any]] | None:
        """All limits at scopes to try; None for those that hold now, as they are."""
        added = [one for form in self._sent for one in form.proposed()]
        if not added and not self.present.has_changed():
            return None
        return [*self.present.proposed(), *added]


def _clean_amount(form: forms.Form, name: str, unit: str | None) -> None:
    """Write the entered amount in its unit, or an error at its box."""
    amount = form.cleaned_data.get(name)
    if amount is None or unit is None:
        return
    try:
        form.cleaned_data[name] = entered_amount(unit, amount)
    except ValidationError as error:
        form.add_error(name, error.messages)


def _name(limit: CusScopedLimit) -> str:
    return f"limit-{limit.id}"


def _box_of(limit: CusScopedLimit) -> forms.DecimalField:
    whose = whose_text(limit.scope, limit.tag, limit.value)
    return amount_box(
        label=f"{_UNITS[limit.unit]} {window_text(limit.window)} for {whose}".capitalize(),
        required=False,
        initial=shown_amount(limit.unit, limit.amount),
    )
