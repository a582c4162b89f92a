"""The forms of the guided steps: few boxes, the services' refusals beside them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar, cast

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminEmailInputWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from integrations.cus_accounts.models import CusTenant
from integrations.cus_accounts.proof_pages import proof_needed_for_form
from integrations.cus_integrations.form import provider_boxes
from integrations.cus_lifecycle.limits import LIMITS, Unit
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.provider import Provider
from integrations.cus_web.errors import CusError, ProofRequired

_T = TypeVar("_T")
_CENTS_A_DOLLAR = 100


class StepForm(forms.Form):
    """A form whose boxes are a service's arguments."""

    # The box for a service's field of another name.
    boxes: dict[str, str] = {}

    def attempt(self, do: Callable[[], _T]) -> _T | None:
        """What `do` returns, in one transaction; None if it refuses, and then the form says why."""
        try:
            with transaction.atomic():
                return do()
        except ValidationError as refusal:
            self._show(refusal)
        except ProofRequired:
            self.add_error(None, proof_needed_for_form())
        except CusError as refusal:
            self._blame(refusal.attr or "", [refusal.detail])
        return None

    def _show(self, refusal: ValidationError) -> None:
        if not hasattr(refusal, "error_dict"):
            self._blame("", refusal.messages)
            return
        for name, texts in refusal.message_dict.items():
            for text in texts:
                # A text about the config begins with the key that is wrong.
                key = text.split(" ", 1)[0].rstrip(":")
                self._blame(f"config_{key}" if name == "config" else name, [text])

    def _blame(self, name: str, texts: list[str]) -> None:
        box = self.boxes.get(name, name)
        self.add_error(box if box in self.fields else None, texts)


class CustomerForm(StepForm):
    """A new tenant, and the address of the person who will run it."""

    boxes = {"invited_email": "email"}

    name = forms.CharField(
        label="The customer's name", max_length=100, widget=UnfoldAdminTextInputWidget
    )
    time_zone = forms.CharField(
        label="Time zone",
        initial="UTC",
        help_text="Usage is read by days and months of this zone, such as Europe/Berlin.",
        widget=UnfoldAdminTextInputWidget,
    )
    email = forms.EmailField(
        label="E-mail address of its first admin",
        help_text="We mail a link there with which the person chooses a password.",
        widget=UnfoldAdminEmailInputWidget,
    )


class CredentialForm(StepForm):
    """A provider's credential. It is never shown again."""

    def __init__(self, provider: Provider, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.provider = provider
        self.boxes = {"credential": f"secret_{provider.credential_fields[0]}"}
        boxes = provider_boxes()
        for name in provider.credential_fields:
            self.fields[f"secret_{name}"] = boxes[f"secret_{name}"]
        if len(provider.credentials) == 1:
            for name in provider.credentials[0].needed:
                self.fields[f"secret_{name}"].required = True

    @property
    def credential(self) -> dict[str, str]:
        """What was typed."""
        names = self.provider.credential_fields
        given = {name: self.cleaned_data.get(f"secret_{name}", "") for name in names}
        return {name: value for name, value in given.items() if value}


class IntegrationForm(CredentialForm):
    """A new integration: its name, what its provider can't do without, and the credential.

    `tenants` are those to choose from: none for people of a tenant, whose own it is.
    """

    name = forms.CharField(
        max_length=100,
        help_text="As your people call it, such as the product that makes the calls.",
        widget=UnfoldAdminTextInputWidget,
    )

    def __init__(self, provider: Provider, tenants: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(provider, *args, **kwargs)
        own = {"name": self.fields.pop("name")}
        if tenants is not None:
            chooser = forms.ModelChoiceField(tenants, widget=UnfoldAdminSelectWidget)
            own = {"tenant": chooser} | own
        boxes = provider_boxes()
        for key in provider.config:
            if key.is_required:
                own[f"config_{key.name}"] = boxes[f"config_{key.name}"]
                own[f"config_{key.name}"].required = True
        self.fields = own | self.fields

    def tenant(self, own: CusTenant | None) -> CusTenant:
        """Whose integration it becomes."""
        return cast("CusTenant", self.cleaned_data.get("tenant") or own)

    @property
    def config(self) -> dict[str, Any]:
        """What was typed of the configuration."""
        names = [key.name for key in self.provider.config if f"config_{key.name}" in self.fields]
        return {name: self.cleaned_data[f"config_{name}"] for name in names}


class LimitsForm(StepForm):
    """The limits of an integration; limits in cents are typed in dollars. 0 is no limit."""

    def __init__(self, integration: CusIntegration, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for limit in LIMITS:
            now = getattr(integration, limit.column)
            is_money = limit.unit is Unit.CENTS
            label = limit.label.removesuffix(" (cents)").capitalize()
            if is_money:
                self.fields[limit.column] = forms.DecimalField(
                    label=f"{label}, in US dollars",
                    help_text="0: no limit.",
                    initial=Decimal(now) / _CENTS_A_DOLLAR,
                    min_value=0,
                    max_value=Decimal(limit.most) / _CENTS_A_DOLLAR,
                    decimal_places=2,
                    widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "0.01"}),
                )
            else:
                self.fields[limit.column] = forms.IntegerField(
                    label=label,
                    help_text="0: no limit.",
                    initial=now,
                    min_value=0,
                    max_value=limit.most,
                    widget=UnfoldAdminIntegerFieldWidget,
                )

    @property
    def limits(self) -> dict[str, int]:
        """The limits by column, in their own units."""
        money = {limit.column for limit in LIMITS if limit.unit is Unit.CENTS}
        return {
            name: int(value * _CENTS_A_DOLLAR) if name in money else value
            for name, value in self.cleaned_data.items()
        }
