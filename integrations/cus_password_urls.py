"""Routes of setting a password by mail, below /admin/password_reset/.

The names are those that Django's login page, mails and views look up.
"""

from django.contrib.auth import views
from django.urls import path

from integrations.cus_password_views import CusPasswordConfirmView

urlpatterns = [
    path("", views.PasswordResetView.as_view(), name="admin_password_reset"),
    path("sent/", views.PasswordResetDoneView.as_view(), name="password_reset_done"),
    path("done/", views.PasswordResetCompleteView.as_view(), name="password_reset_complete"),
    path(
        "<uidb64>/<token>/",
        CusPasswordConfirmView.as_view(),
        name="password_reset_confirm",
    ),
]
