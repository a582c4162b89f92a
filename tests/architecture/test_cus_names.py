"""Names say whose they are (§2, ruling N1)."""

from pathlib import Path

from django.apps import apps

ROOT = Path(__file__).resolve().parents[2]
# What Django, Celery, Python or pytest look up by name.
LOOKED_UP = {
    "__init__", "__main__", "admin", "apps", "asgi", "celery", "conftest", "migrate", "models",
    "settings", "tasks", "urls", "wsgi",
}  # fmt: skip


def _modules(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts]


def test_every_module_of_ours_says_so() -> None:
    for folder in ("aos_project", "integrations", "telemetry", "enforcement", "sdk/python/aos_sdk"):
        for path in _modules(folder):
            ours = any(part.startswith("cus_") for part in path.relative_to(ROOT).parts)
            assert ours or path.stem in LOOKED_UP, path


def test_every_migration_and_every_test_says_so() -> None:
    for path in ROOT.glob("*/migrations/[0-9]*.py"):
        assert "_cus_" in path.name
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert path.name.startswith("test_cus_")


def test_every_table_of_ours_says_so() -> None:
    for label in ("integrations", "telemetry", "enforcement"):
        for model in apps.get_app_config(label).get_models():
            # A proxy has no table of its own.
            assert model._meta.proxy or model._meta.db_table.startswith("cus_")


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    for name in ("utils", "helpers", "constants", "common", "misc"):
        assert not list(ROOT.glob(f"*/{name}.py"))
        assert not list(ROOT.glob(f"*/cus_{name}.py"))
