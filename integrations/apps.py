"""The authority plane: who may do what, with which provider, under which limits."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Integrations"

    def ready(self) -> None:
        from django.conf import settings
        from django.contrib.auth.signals import user_logged_in, user_logged_out

        from integrations import cus_checks  # noqa: F401  (registers the system checks)
        from integrations.cus_accounts import session_guard
        from integrations.cus_accounts.access_changes import AccessRules
        from integrations.cus_accounts.proof import note_sign_in
        from integrations.cus_audit.service import govern_changes
        from integrations.cus_database_roles import grant_after_migrate
        from integrations.cus_web.redaction import install

        install(settings)
        govern_changes(AccessRules())
        user_logged_in.connect(note_sign_in, dispatch_uid="cus_note_sign_in")
        user_logged_in.connect(session_guard.note_sign_in, dispatch_uid="cus_session_starts")
        user_logged_out.connect(session_guard.note_sign_out, dispatch_uid="cus_session_ends")
        post_migrate.connect(grant_after_migrate, dispatch_uid="cus_grant_after_migrate")
