"""A bypass is named by the program's own line, not by a framework's."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from aos_sdk import cus_call_sites as call_sites
from aos_sdk.cus_call_sites import call_site

SITE = "/venv/lib/python3.11/site-packages/"
PYTHON = "/usr/lib/python3.11/"


@pytest.fixture(autouse=True)
def _folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_sites, "_OF_PACKAGES", (SITE,))
    monkeypatch.setattr(call_sites, "_OF_PYTHON", ("<frozen ", PYTHON))


class _Frame:
    """A frame of a stack that ends where a thread begins."""

    def __init__(self, name: str, file: str, back: Any) -> None:
        self.f_globals = {"__name__": name}
        self.f_code = compile("", file, "exec")
        self.f_lineno = 1
        self.f_back = back


def _frames(*modules: tuple[str, str]) -> FrameType:
    frame: Any = None
    for name, file in modules:
        frame = _Frame(name, file, frame)
    innermost: FrameType = frame
    return innermost


def _found(*modules: tuple[str, str]) -> str:
    """The file of the call site, if these modules (name, file) call each other in this order."""
    return call_site(_frames(*modules))[0]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("litellm.llms.openai.openai", "litellm/llms/openai/openai.py"),
        ("dspy.clients.lm", "dspy/clients/lm.py"),
        ("langchain_openai.chat_models.base", "langchain_openai/chat_models/base.py"),
        ("pydantic_ai.models.openai", "pydantic_ai/models/openai.py"),
        ("agents.run", "agents/run.py"),
        ("a_wrapper_that_nobody_knows", "a_wrapper_that_nobody_knows.py"),
    ],
)
def test_the_programs_line_is_named_and_not_that_of_a_library(name: str, file: str) -> None:
    frames = [("httpx._client", f"{SITE}httpx/_client.py"), (name, f"{SITE}{file}")]

    assert _found(("shop.answers", "/srv/shop/answers.py"), *reversed(frames)) == (
        "/srv/shop/answers.py"
    )


def test_a_known_library_that_a_program_carries_with_it_is_passed_over() -> None:
    """As in a zip of AWS Lambda, where all packages are beside the program."""
    assert (
        _found(("handler", "/var/task/handler.py"), ("litellm.main", "/var/task/litellm/main.py"))
        == "/var/task/handler.py"
    )


def test_a_package_of_the_programs_own_may_have_a_librarys_name() -> None:
    assert (
        _found(
            ("main", "/srv/main.py"),
            ("agents.writer", "/srv/agents/writer.py"),
            ("openai._base_client", f"{SITE}openai/_base_client.py"),
        )
        == "/srv/agents/writer.py"
    )


def test_a_program_that_is_installed_like_a_library_is_named() -> None:
    assert (
        _found(
            ("threading", f"{PYTHON}threading.py"),
            ("shop.answers", f"{SITE}shop/answers.py"),
            ("litellm.main", f"{SITE}litellm/main.py"),
        )
        == f"{SITE}shop/answers.py"
    )


def test_without_any_frame_of_a_program_the_outermost_is_named() -> None:
    assert (
        _found(("threading", f"{PYTHON}threading.py"), ("litellm.main", f"{SITE}litellm/main.py"))
        == f"{PYTHON}threading.py"
    )
    assert call_site(None) == ("?", 0)


def test_the_folders_are_those_of_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    installed = Path(pytest.__file__)
    standard = Path(str(sys.modules["asyncio"].__file__))

    assert str(installed).startswith(call_sites._OF_PACKAGES)
    assert str(standard).startswith(call_sites._OF_PYTHON)
