"""Setting a password by a mailed link: Django's own flow, which also accepts invitations."""

from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.views import PasswordResetConfirmView
from django.db import transaction
from django.http import HttpResponse

from integrations.cus_member_service import accept_invitation
from integrations.cus_models import CusUser


class CusPasswordConfirmView(PasswordResetConfirmView):
    """Who reached this holds the link that was mailed to the address: that is the acceptance."""

    @transaction.atomic
    def form_valid(self, form: "SetPasswordForm[CusUser]") -> HttpResponse:
        """Keep the password, and join the tenant that invited this address."""
        response = super().form_valid(form)
        accept_invitation(form.user)
        return response
