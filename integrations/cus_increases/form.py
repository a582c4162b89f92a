"""The form in which people ask for an increase."""

import uuid
from collections.abc import Iterator
from typing import Any, Final, cast

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import visible_to
from integrations.cus_console.filters import MOST_OFFERED
from integrations.cus_console.forms import CusServiceForm
from integrations.cus_increases.models import CusIncreaseRequest
from integrations.cus_increases.service import CusIncreaseService, Which
from integrations.cus_lifecycle.limits import LIMITS
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_limits.form import amount_box, entered_amount
from integrations.cus_limits.models import CusScopedLimit
from integrations.cus_limits.service import integration_of, limits_in_force
from integrations.cus_limits.words import amount_text, limit_text, window_text

# The value of a choice: "limit:<its id>", or "<column>:<the integration's id>".
_SCOPED: Final = "limit"
_UNITS: Final = {limit.column: str(limit.unit) for limit in LIMITS}


def choices_for(person: CusUser) -> list[tuple[str, list[tuple[str, str]]]]:
    """The limits that a person may ask to be raised, by integration."""
    groups: dict[str, list[tuple[str, str]]] = {}
    living = CusIntegration.objects.filter(deleted_at__isnull=True).order_by("name", "id")
    for integration in visible_to(living, person)[:MOST_OFFERED]:
        groups[integration.name] = list(_own_of(integration))
    limits = CusScopedLimit.objects.filter(limits_in_force(timezone.now()))
    seen = visible_to(limits.select_related("integration"), person).order_by("created_at", "id")
    for limit in seen[:MOST_OFFERED]:
        title = str(limit.integration or "All integrations of the tenant")
        groups.setdefault(title, []).append((f"{_SCOPED}:{limit.id}", limit_text(limit)))
    return [(title, choices) for title, choices in groups.items() if choices]


def _own_of(integration: CusIntegration) -> Iterator[tuple[str, str]]:
    for limit in LIMITS:
        amount = getattr(integration, limit.column)
        if amount:
            text = f"{amount_text(limit.unit, amount)} {window_text(limit.window)}"
            yield f"{limit.column}:{integration.id}", f"{text} for the integration"


class IncreaseForm(CusServiceForm):
    """Which limit to raise, to how much, until when, and why."""

    which = forms.ChoiceField(label="Limit", widget=UnfoldAdminSelectWidget)
    amount = amount_box(
        "What shall hold instead: US dollars, tokens or calls, as the limit has it."
    )

    class Meta:
        model = CusIncreaseRequest
        fields = ("which", "value", "amount", "valid_until", "reason")
        help_texts = {
            "value": "Of a limit of each agent, session, person or tag: for which one. Empty: for "
            "all that the limit counts.",
            "valid_until": "In UTC. Then the increase ends by itself.",
            "reason": "For those who decide.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "value" in self.fields:
            self.fields["value"].required = False
        if self.is_new:
            box = cast("forms.ChoiceField", self.fields["which"])
            box.choices = choices_for(self._person)
        else:
            # A request never changes, so its page has no boxes.
            self.fields.clear()

    @property
    def _person(self) -> CusUser:
        return cast("CusUser", self.request.user)

    def field_of(self, name: str) -> str:
        return {"limit": "which"}.get(name, name)

    def call_service(self) -> CusIncreaseRequest:
        cleaned = self.cleaned_data
        kind, _, name = cleaned["which"].partition(":")
        value = cleaned["value"] or None
        if kind == _SCOPED:
            limit = CusScopedLimit.objects.get(id=uuid.UUID(name))
            integration, unit = integration_of(limit), limit.unit
            which = Which(limit=limit, value=value)
        else:
            if value:
                text = "This limit counts all calls of the integration: leave the name out."
                raise ValidationError({"value": text})
            integration, unit = CusIntegration.objects.get(id=uuid.UUID(name)), _UNITS[kind]
            which = Which(own_limit=kind)
        return CusIncreaseService(integration.tenant, actor=self._person).ask(
            integration,
            which,
            now=timezone.now(),
            amount=entered_amount(unit, cleaned["amount"]),
            valid_until=cleaned["valid_until"],
            reason=cleaned["reason"],
        )
