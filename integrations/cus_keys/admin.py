"""The console's page of SDK keys: issue (the text is shown once), list, revoke."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant

from integrations.cus_accounts.models import CusUser
from integrations.cus_console import finders, panels
from integrations.cus_console.actions import Question, asked
from integrations.cus_console.export import CusExport
from integrations.cus_console.finders import MOST_OF_A_KIND, Finder, Hit, as_id, by_page
from integrations.cus_console.issued import CusIssuedAdmin, CusIssuingForm
from integrations.cus_console.panels import Cell, Page, Panel, table
from integrations.cus_keys.models import CusSdkKey
from integrations.cus_keys.service import CusSdkKeyService
from integrations.cus_keys.snippets import Snippet, snippets
from integrations.cus_lifecycle.console import CusOffersIntegrations
from integrations.cus_lifecycle.models import CusIntegration

_MOST_KEYS = 50
# How many of a key's last characters are stored.
_HINT = 4


class SdkKeyForm(CusIssuingForm):
    """A key's integration, label and expiry."""

    class Meta:
        model = CusSdkKey
        fields = ("integration", "label", "expires_at")
        help_texts = {"expires_at": "Empty: valid until it is revoked."}

    def issue(self) -> tuple[CusSdkKey, str]:
        cleaned = self.cleaned_data
        actor = cast("CusUser", self.request.user)
        service = CusSdkKeyService(cleaned["integration"], actor=actor)
        return service.issue(label=cleaned["label"], expires_at=cleaned["expires_at"])


def keys_of(_request: HttpRequest, integration: CusIntegration) -> SafeString:
    """The integration's keys, newest first, and the way to issue another."""
    page = admin.site.get_model_admin(CusSdkKey)
    keys = CusSdkKey.objects.filter(integration=integration).order_by("-created_at")[:_MOST_KEYS]
    add = f"{reverse('admin:integrations_cussdkkey_add')}?integration={integration.id}"
    html = table(
        ["Key", "Label", "State", "Made (UTC)", "Last used (UTC)"],
        [_row(page, key) for key in keys],
        empty="No key was issued yet: a program needs one to report and to ask.",
    )
    return format_html(
        '{}<p class="mt-4"><a href="{}" class="underline">Issue a key</a></p>', html, add
    )


def _row(page: Any, key: CusSdkKey) -> list[Cell]:
    address = reverse("admin:integrations_cussdkkey_change", args=[key.id])
    return [
        format_html('<a href="{}" class="underline">aosk_…{}</a>', address, key.hint),
        key.label or "-",
        page.standing(key),
        f"{key.created_at:%Y-%m-%d %H:%M}",
        f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never",
    ]


# As the console shows a key (`aosk_…1234`), and as a program has it (`<tenant>:<integration>:aosk_…`).
_KEY_TEXT = re.compile(r"(?:[^:]+:(?P<integration>[^:]+):)?(?:aosk_|…|\.{3})+(?P<end>\w*)")


def find_keys(request: HttpRequest, text: str) -> Iterable[Hit]:
    """Keys by the text of a key, of which only the last characters are stored; else as the page's
    own search finds them.
    """
    named = _KEY_TEXT.fullmatch(text)
    if named is None:
        return by_page(CusSdkKey)(request, text)
    page: Any = admin.site.get_model_admin(CusSdkKey)
    keys, hint = page.get_queryset(request), named["end"][-_HINT:]
    integration = as_id(named["integration"] or "")
    if integration is None and len(hint) < _HINT:
        return []
    if integration:
        keys = keys.filter(integration_id=integration)
    if len(hint) == _HINT:
        keys = keys.filter(hint=hint)
    return [
        Hit(page.key(key), f"{key.integration}, {key.tenant}", page.address_of(key))
        for key in keys.select_related("integration", "tenant")[: MOST_OF_A_KIND + 1]
    ]


panels.register(
    Panel(Page.INTEGRATION, "keys", "SDK keys", ("operator", "admin"), keys_of, tab="keys")
)
finders.register(
    Finder(
        "SDK keys",
        ("operator", "admin"),
        find_keys,
        "by their label, their integration's name, their last 4 characters, or as a program has them",
    )
)


@admin.register(CusSdkKey)
class CusSdkKeyAdmin(CusExport, CusOffersIntegrations, CusIssuedAdmin):
    """The keys of the integrations that the viewer manages (ruling C9)."""

    viewers = changers = ("operator", "admin")
    form = SdkKeyForm
    list_display = (
        "key",
        "integration",
        "tenant",
        "label",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
    )
    search_fields = ("label", "hint", "integration__name")
    list_select_related = ("integration", "tenant")
    ordering = ("-created_at", "-id")
    readonly_fields = (
        "key",
        "tenant_shown",
        "standing",
        "created_at",
        "created_by_shown",
        "revoked_at",
        "last_used_at",
    )
    actions_row = ("revoke",)
    actions_detail = ("revoke", "history")

    def get_fields(self, request: HttpRequest, obj: CusSdkKey | None = None) -> list[str]:
        asked = ["integration", "label", "expires_at"]
        return [*asked, *self.readonly_fields] if obj else asked

    def ends_at(self, row: CusSdkKey) -> datetime | None:
        return row.expires_at

    def use_of(self, row: CusSdkKey) -> str:
        return (
            f"It reports for {row.integration}. Give it to the program as CUS_INTEGRATION_KEY, and "
            "give it to no other program."
        )

    def snippets_of(self, request: HttpRequest, row: CusSdkKey, text: str) -> list[Snippet]:
        address = request.build_absolute_uri("/").rstrip("/")
        return snippets(row.integration.provider_type, address, text)

    @display(description="Key", ordering="hint")
    def key(self, key: CusSdkKey) -> str:
        return f"aosk_…{key.hint}"

    @asked(
        Question(
            "Revoke the SDK key",
            "Programs that use it are refused everywhere within two seconds. This can't be undone.",
            "Revoke",
            "The key is revoked.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Revoke",
        icon="block",
        variant=ActionVariant.DANGER,
    )
    def revoke(self, row: CusSdkKey, actor: CusUser) -> None:
        CusSdkKeyService(row.integration, actor=actor).revoke(row.id)
