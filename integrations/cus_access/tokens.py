"""The console's page on API tokens: people see their own; operators see and end all."""

from datetime import datetime
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextareaWidget

from integrations.cus_accounts.models import CusApiToken, CusUser
from integrations.cus_accounts.permissions import role_of
from integrations.cus_accounts.token_rights import MOST_RANGES, TokenRights, rights_shown
from integrations.cus_accounts.token_service import CusTokenService
from integrations.cus_console.actions import Question, asked
from integrations.cus_console.issued import CusIssuedAdmin, CusIssuingForm
from integrations.cus_console.pages import EVERY_ROLE, CusReadOnlyAdmin


class AddressRangesField(forms.CharField):
    """Ranges of addresses, one a line."""

    def to_python(self, value: Any) -> Any:
        """The ranges, as a list."""
        return (super().to_python(value) or "").replace(",", " ").split()


class TokenForm(CusIssuingForm):
    """A token's name, rights and end."""

    address_ranges = AddressRangesField(
        required=False,
        max_length=2_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=f"Where it may be used from: up to {MOST_RANGES} addresses or ranges, one a line, "
        "such as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48. Empty: anywhere.",
    )
    expires_at = forms.SplitDateTimeField(
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget,
        help_text="Within a year. Empty: in 90 days.",
    )

    class Meta:
        model = CusApiToken
        fields = ("name", "read_only", "may_change_access", "address_ranges")

    def issue(self) -> tuple[CusApiToken, str]:
        return CusTokenService(cast("CusUser", self.request.user)).issue(
            name=self.cleaned_data["name"],
            expires_at=self.cleaned_data["expires_at"],
            rights=TokenRights(
                may_change_access=self.cleaned_data["may_change_access"],
                read_only=self.cleaned_data["read_only"],
                address_ranges=self.cleaned_data["address_ranges"],
            ),
            now=timezone.now(),
        )


@admin.register(CusApiToken)
class CusApiTokenAdmin(CusIssuedAdmin):
    """API tokens, including ended tokens. The page never shows a secret."""

    changers = EVERY_ROLE
    form = TokenForm
    list_display = (
        "name",
        "user",
        "hint_shown",
        "rights",
        "state",
        "created",
        "expiry",
        "last_used_at",
    )
    search_fields = ("name", "user__email")
    list_select_related = ("user",)
    ordering = ("-created", "-id")
    readonly_fields = (
        "person_shown",
        "hint_shown",
        "standing",
        "created",
        "expiry",
        "revoked_at",
        "last_used_at",
        "last_refused_at",
        "last_refused_address",
    )
    actions_detail = ("revoke", "history")

    def get_queryset(self, request: HttpRequest) -> QuerySet[CusApiToken]:
        # By person, not by tenant: otherwise people would see their colleagues' tokens.
        tokens = super(CusReadOnlyAdmin, self).get_queryset(request)
        if role_of(request.user) == "operator":
            return cast("QuerySet[CusApiToken]", tokens)
        return cast("QuerySet[CusApiToken]", tokens.filter(user=request.user))

    def get_fields(self, request: HttpRequest, obj: CusApiToken | None = None) -> list[str]:
        asked = ["name", "read_only", "may_change_access", "address_ranges"]
        return [*asked, *self.readonly_fields] if obj else [*asked, "expires_at"]

    @display(description="Person")
    def person_shown(self, token: CusApiToken) -> str:
        """The person's address, without a link to a page that only operators may open."""
        return str(token.user)

    @display(description="Ends in")
    def hint_shown(self, token: CusApiToken) -> str:
        return f"…{token.hint}"

    @display(description="May")
    def rights(self, token: CusApiToken) -> str:
        return rights_shown(token)

    def ends_at(self, row: CusApiToken) -> datetime | None:
        ends_at: datetime = row.expiry
        return ends_at

    def use_of(self, row: CusApiToken) -> str:
        return "Send it with each request to the API, as Authorization: Bearer, then the token."

    @asked(
        Question(
            "Revoke the token",
            "Programs that use it get 401 from now on. This can't be undone.",
            "Revoke",
            "The token is revoked.",
            is_dangerous=True,
            changes_access=True,
        ),
        description="Revoke",
        icon="block",
        variant=ActionVariant.DANGER,
    )
    def revoke(self, row: CusApiToken, actor: CusUser) -> None:
        CusTokenService(row.user, actor=actor).revoke(row, now=timezone.now())
