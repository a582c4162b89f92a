"""The form in which people enter an integration: boxes for each provider's own settings."""

from decimal import Decimal
from typing import Any, ClassVar, cast

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from integrations.cus_accounts.models import CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_console.forms import CusServiceForm, tenant_for, with_boxes
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle import limits
from integrations.cus_lifecycle.limits import Unit
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_providers.provider import ConfigKey
from integrations.cus_providers.registry import PROVIDERS, provider_of, supported_choices
from integrations.cus_providers.rules import config_keys, credential_fields
from integrations.cus_web.errors import IntegrationChanged, VersionMismatch

CONFIG = tuple(sorted(config_keys()))
SECRETS = credential_fields()
# Limits in cents are entered in dollars, in a box by the limit's kind.
_DOLLAR_BOXES = {limit.column: limit.kind for limit in limits.LIMITS if limit.unit is Unit.CENTS}
LIMITS = (
    "default_model",
    "enforcement_level",
    *(column for column in limits.LIMIT_COLUMNS if column not in _DOLLAR_BOXES),
    "allow_unpriced",
)
# For operators alone: bounds on the load of a tenant (ruling F5b).
BOUNDS = ("max_live_holds",)
_NEW = {
    "enforcement_level": CusIntegration.EnforcementLevel.BLOCK,
    "budget_basis": CusIntegration.BudgetBasis.ROUNDED,
    "estimate_basis": CusIntegration.EstimateBasis.BOUND,
    **{_DOLLAR_BOXES.get(limit.column, limit.column): 0 for limit in limits.LIMITS},
    "allow_unpriced": False,
    "max_live_holds": CusIntegration._meta.get_field("max_live_holds").default,
}
_SHOUTED = {"url", "api", "aws", "ad", "id"}


def label_of(key: str) -> str:
    """The label of a key: `base_url` is "Base URL"."""
    words = [word.upper() if word in _SHOUTED else word for word in key.split("_")]
    text = " ".join(words)
    return text[0].upper() + text[1:]


def types_with_config(key: str) -> list[str]:
    """The provider types that may be configured with `key`."""
    return [name for name, provider in PROVIDERS.items() if key in provider.config_keys]


def types_with_secret(key: str) -> list[str]:
    """The provider types whose credential may have `key`."""
    return [name for name, provider in PROVIDERS.items() if key in provider.credential_fields]


def _config_box(key: ConfigKey) -> forms.Field:
    label = label_of(key.name)
    if key.is_number:
        box = UnfoldAdminIntegerFieldWidget
        return forms.IntegerField(label=label, required=False, widget=box)
    box = UnfoldAdminTextInputWidget
    return forms.CharField(label=label, required=False, strip=False, widget=box)


def _secret_box(key: str) -> forms.CharField:
    # The page never shows the value again, and browsers must not save it.
    widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
    return forms.CharField(label=label_of(key), required=False, strip=False, widget=widget)


def provider_boxes() -> dict[str, forms.Field]:
    """A box for each key of a config and each field of a credential, of all providers."""
    config = {f"config_{name}": _config_box(key) for name, key in config_keys().items()}
    return config | {f"secret_{name}": _secret_box(name) for name in credential_fields()}


@with_boxes(provider_boxes())
class IntegrationForm(CusServiceForm):
    """Boxes for the arguments of the integration service. A credential is never shown."""

    provider_type = forms.ChoiceField(
        label="Provider",
        choices=supported_choices,
        widget=UnfoldAdminSelectWidget,
    )
    budget = forms.DecimalField(
        label="Monthly budget, in US dollars",
        help_text="0: no limit",
        min_value=Decimal(0),
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "0.01"}),
    )
    # For operators alone (ruling C1). A reference names a credential's place and is not secret.
    reference = forms.CharField(
        label="Reference to another store",
        required=False,
        widget=UnfoldAdminTextInputWidget(
            attrs={"placeholder": "env://CUS_CREDENTIAL_… or vault://mount/path#field"}
        ),
    )
    # The version that the person saw; a later version means that another person changed the row.
    seen_version = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = CusIntegration
        fields = ("tenant", "name", *LIMITS, *BOUNDS)

    _fields_of: ClassVar[dict[str, str]] = {**_DOLLAR_BOXES, "credential_ref": "reference"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        integration = self.instance
        if role_of(self.request.user) != "operator":
            for name in ("reference", *BOUNDS):
                # A page for people who may only read has no boxes, so the name may be absent.
                self.fields.pop(name, None)
        elif not self.is_new and not integration.credential_ref.startswith("db://"):
            self.fields["reference"].help_text = f"Now {integration.credential_ref}"
        if self.is_new:
            self.initial = _NEW | {
                name: value for name, value in self.initial.items() if name not in _NEW
            }
            return
        self.fields["provider_type"].disabled = True
        for column, box in _DOLLAR_BOXES.items():
            self.initial[box] = Decimal(getattr(integration, column)) / 100
        self.initial["seen_version"] = integration.config_version
        for key, value in integration.config.items():
            self.initial[f"config_{key}"] = value

    def call_service(self) -> CusIntegration:
        actor = cast("CusUser", self.request.user)
        if self.is_new:
            tenant = tenant_for(self.request, self.cleaned_data)
            return CusIntegrationService(tenant, actor=actor).create(
                provider_type=self.cleaned_data["provider_type"],
                credential=self._given_secrets() or None,
                reference=self.cleaned_data.get("reference"),
                **self._given_fields(),
            )
        return self._change(CusIntegrationService(self.instance.tenant, actor=actor))

    def _change(self, service: CusIntegrationService) -> CusIntegration:
        try:
            return service.change(
                self.instance.id,
                # A missing version counts as 0, which never is the present version.
                expected_version=self.cleaned_data["seen_version"] or 0,
                credential=self._given_secrets() or None,
                reference=self.cleaned_data.get("reference"),
                **self._given_fields(),
            )
        except (VersionMismatch, IntegrationChanged):
            raise ValidationError(
                "Another person changed this integration while you had it open, so your changes "
                "were not saved. Open it again, and enter your changes once more."
            ) from None

    def _show(self, refusal: ValidationError) -> None:
        if hasattr(refusal, "error_dict") and "config" in refusal.message_dict:
            # Each text begins with the key of the config that is wrong.
            for text in refusal.message_dict["config"]:
                self._blame(f"config_{text.split(' ', 1)[0].rstrip(':')}", [text])
            return
        super()._show(refusal)

    def field_of(self, name: str) -> str:
        if name == "credential":
            provider = self.cleaned_data.get("provider_type", "")
            return next(f"secret_{key}" for key in SECRETS if provider in types_with_secret(key))
        return self._fields_of.get(name, name)

    def _given_fields(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        provider = provider_of(cleaned["provider_type"])
        config = {key: cleaned.get(f"config_{key}") for key in provider.config_keys}
        return {
            "name": cleaned["name"],
            **{name: cleaned[name] for name in (*LIMITS, *BOUNDS) if name in self.fields},
            "default_model": cleaned["default_model"] or None,
            **{column: int(cleaned[box] * 100) for column, box in _DOLLAR_BOXES.items()},
            "config": {key: value for key, value in config.items() if value not in (None, "")},
        }

    def _given_secrets(self) -> dict[str, str]:
        """The values typed into this provider's boxes; other providers' boxes do not count."""
        provider = self.cleaned_data["provider_type"]
        keys = [key for key in SECRETS if provider in types_with_secret(key)]
        given = {key: self.cleaned_data.get(f"secret_{key}", "") for key in keys}
        return {key: value for key, value in given.items() if value}
