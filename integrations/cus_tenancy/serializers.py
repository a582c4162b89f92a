"""Input and output of the API of members and of the tenant's settings."""

from rest_framework import serializers

from integrations.cus_accounts.models import CusMembership, CusTenant
from integrations.cus_web.strict_fields import StrictChoice, StrictEmail, StrictInput, StrictText


class MemberInput(StrictInput):
    """A person to invite."""

    email = StrictEmail(max_length=254)
    role = StrictChoice(CusMembership.Role.choices, default=CusMembership.Role.MEMBER)


class MemberChange(StrictInput):
    """A member's new role."""

    role = StrictChoice(CusMembership.Role.choices)


class MemberOutput(serializers.ModelSerializer[CusMembership]):
    """A member of the tenant, or an open invitation."""

    email = serializers.EmailField()
    state = serializers.SerializerMethodField()

    class Meta:
        model = CusMembership
        fields = ("id", "email", "role", "state", "created_at")

    def get_state(self, membership: CusMembership) -> str:
        """`invited` until the person has set a password, then `active`."""
        return "active" if membership.user_id else "invited"


class TenantChange(StrictInput):
    """A tenant's new settings."""

    time_zone = StrictText(
        max_length=64, help_text="A name of the IANA database, such as Europe/Berlin."
    )


class TenantOutput(serializers.ModelSerializer[CusTenant]):
    """A tenant and its settings."""

    class Meta:
        model = CusTenant
        fields = ("id", "name", "time_zone", "created_at")
