"""Configurations with which production refuses to start."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from integrations.cus_database_roles import owner_of
from telemetry.cus_evidence.partitions import TABLE


def refuse_evidence_owner() -> None:
    """Stop if the application's login could remove the guards of evidence (ruling E5)."""
    if settings.LOCAL:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolname FROM pg_roles WHERE rolname = current_user")
        is_superuser, role = cursor.fetchone()
        owns = owner_of(cursor, TABLE) == role
    connection.close()
    if is_superuser or owns:
        msg = (
            f"DATABASE_URL signs in as {role}, which owns the usage table or is a superuser, so it "
            "could change evidence. Give the application a login of its own and put the owner's "
            "into DATABASE_OWNER_URL."
        )
        raise ImproperlyConfigured(msg)
