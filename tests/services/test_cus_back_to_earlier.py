"""Migrating back to an earlier release."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connections

from integrations import cus_database_roles
from integrations.cus_database_roles import grant_after_migrate

pytestmark = pytest.mark.django_db(databases=["default", "owner"])


@pytest.mark.parametrize(("is_backwards", "granted"), [(False, 1), (True, 0)])
def test_rights_are_granted_on_the_way_forwards_alone(
    monkeypatch: pytest.MonkeyPatch, *, is_backwards: bool, granted: int
) -> None:
    """On the way back, tables and columns are gone for which this release declares rights."""
    runs: list[Any] = []
    monkeypatch.setattr(cus_database_roles, "grant_roles", runs.append)
    migration = import_module("telemetry.migrations.0032_cus_limit_allotments").Migration
    for app in apps.get_app_configs():
        grant_after_migrate(app, using="owner", plan=[(migration, is_backwards)])

    assert runs == [connections["owner"]] * granted
