"""Routes of setting a password by mail, below /admin/password_reset/.

The names are those that Django's login page, mails and views look up.
"""

from django.urls import path

from integrations.cus_accounts.password_pages import (
    CusPasswordDoneView,
    CusPasswordResetView,
    CusPasswordSentView,
)
from integrations.cus_tenancy.password_views import CusPasswordConfirmView

urlpatterns = [
    path("", CusPasswordResetView.as_view(), name="admin_password_reset"),
    path("sent/", CusPasswordSentView.as_view(), name="password_reset_done"),
    path("done/", CusPasswordDoneView.as_view(), name="password_reset_complete"),
    path(
        "<uidb64>/<token>/",
        CusPasswordConfirmView.as_view(),
        name="password_reset_confirm",
    ),
]
