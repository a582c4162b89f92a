"""What a process loads: workers and commands, of which a product runs many, show no pages."""

import subprocess
import sys

import pytest
from django.contrib import admin
from django.core import checks

from telemetry.cus_evidence.models import CusLLMUsage
from tests.conftest import ROOT

_LOADED = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "aos_project.settings"
import django
django.setup()
print(*sorted(sys.modules.keys() & {"telemetry.admin", "unfold.admin", "genai_prices", "pydantic"}))
import aos_project.wsgi
print(*sorted(sys.modules.keys() & {"telemetry.admin", "unfold.admin", "genai_prices"}))
"""


def test_workers_load_neither_pages_nor_the_prices_that_few_calls_need() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ran.stdout == "\ngenai_prices telemetry.admin unfold.admin\n"


def test_checks_look_at_the_pages_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    page = admin.site.get_model_admin(CusLLMUsage)
    monkeypatch.setattr(page, "list_display", ("a_field_that_there_is_not",))

    found = checks.run_checks(tags=[checks.Tags.admin])

    assert [problem.id for problem in found] == ["admin.E108"]
