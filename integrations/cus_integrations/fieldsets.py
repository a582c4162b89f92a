"""The boxes of an integration's page, by what the person may do with them."""

from typing import Any

from django.http import HttpRequest

from integrations.cus_accounts.permissions import role_of
from integrations.cus_accounts.proof import needs_proof
from integrations.cus_accounts.proof_pages import proof_url
from integrations.cus_integrations.form import BOUNDS, CONFIG, LIMITS, SECRETS
from integrations.cus_lifecycle.models import HEALTH_COLUMNS
from integrations.cus_providers.rules import credential_choices_text

SHOWN = (
    ("In your currency", {"fields": ("budget_in_currency",)}),
    (
        "State",
        {
            "fields": (
                "status",
                "error_reason",
                *HEALTH_COLUMNS,
                "coverage_percent",
                "unproven_shown",
            )
        },
    ),
    ("Record", {"fields": ("created_at", "updated_at", "created_by_shown")}),
)


_PROVE = (
    ' To enter another one, <a href="{}" class="underline">prove first who you are</a>: it is more '
    "than 5 minutes since you did."
)


def entered(request: HttpRequest, credential: tuple[str, ...] = ()) -> tuple[Any, ...]:
    """The boxes of both forms, for adding and for changing."""
    hint = f"Never shown again. {credential_choices_text()}."
    if credential:
        hint += " Leave empty to keep what is stored."
        if needs_proof(request):
            hint += _PROVE.format(proof_url(request))
    secrets = tuple(f"secret_{key}" for key in SECRETS)
    bounds: tuple[str, ...] = ()
    if role_of(request.user) == "operator":
        secrets += ("reference",)
        bounds = BOUNDS
    return (
        ("Credential", {"fields": (*credential, *secrets), "description": hint}),
        ("Configuration", {"fields": tuple(f"config_{key}" for key in CONFIG)}),
        ("Limits", {"fields": ("budget", *LIMITS, *bounds)}),
    )


def only_read(request: HttpRequest) -> Any:
    """The page for viewers who may only read. Support and finance see no credentials (ruling C9)."""
    sees_none = role_of(request.user) in ("support", "finance")
    hidden = () if sees_none else ("credential_shown",)
    about = ("name", "tenant_shown", "provider_type", "config_shown", *hidden)
    return [
        (None, {"fields": about}),
        ("Limits", {"fields": ("budget_shown", *LIMITS, *BOUNDS)}),
        *SHOWN,
    ]
