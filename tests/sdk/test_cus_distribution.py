"""What is published: a wheel of our files alone, that works with urllib3 and certifi alone."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import aos_sdk
from tests.sdk.conftest import KEY
from tests.sdk.cus_fake_servers import CusFakeCollector

SOURCE = Path(aos_sdk.__file__).parents[1]


def _run(*command: object) -> str:
    run = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of the source distribution, without any download."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, SOURCE)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, urllib3 and certifi, and nothing else."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    _run(*pip, "install", "-q", "--no-index", "--no-deps", wheel)
    ours = Path(sysconfig.get_path("purelib"))
    (theirs,) = home.glob("lib/python*/site-packages")
    for package in ("urllib3", "certifi"):
        shutil.copytree(ours / package, theirs / package)
    return python


def test_the_wheel_has_our_files_and_no_others(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(SOURCE))
        for path in (SOURCE / "aos_sdk").rglob("*")
        if path.suffix in (".py", ".json", ".typed")
    }

    assert files == expected
    assert {"aos_sdk/py.typed", "aos_sdk/cus_prices.json", "aos_sdk/__main__.py"} <= files
    rooms = ("cus_capture", "cus_counting", "cus_delivery", "cus_pricing", "cus_providers")
    assert {f"aos_sdk/{room}/__init__.py" for room in rooms} <= files


def test_its_metadata_says_what_it_needs_and_what_it_may_have(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = message_from_string(archive.read(name).decode())

    assert metadata["Version"] == aos_sdk.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"openai", "anthropic", "tiktoken", "all"}
    needed = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert sorted(needed) == ["certifi", "urllib3>=2.2"]
    assert "CusOpenAIProvider" in str(metadata.get_payload())


def test_a_fresh_environment_reports_with_it(python: Path) -> None:
    with CusFakeCollector() as collector:
        code = f"""
import aos_sdk
reporter = aos_sdk.CusReporter({KEY!r}, {collector.url!r})
with reporter.track_call("openai", "gpt-4o") as call:
    call.set_tokens(1000, 500)
print(reporter.shutdown(10), aos_sdk.count_tokens("hello world", "gpt-4o") > 0)
for name in aos_sdk.__all__:
    getattr(aos_sdk, name)
"""
        output = _run(python, "-I", "-W", "error", "-c", code)

    assert output == "0 True\n"
    (record,) = collector.stored.values()
    assert record["cost_cents"] == 1


def test_a_fresh_environment_has_a_doctor(python: Path) -> None:
    run = subprocess.run(
        [python, "-I", "-m", "aos_sdk", "doctor"], capture_output=True, text=True, timeout=60
    )

    assert run.returncode == 1
    assert "no integration key is set" in run.stdout
    assert "openai: not installed" in run.stdout
