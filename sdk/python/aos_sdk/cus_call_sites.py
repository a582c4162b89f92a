"""The line of the program that makes a request: the first frame outside of known libraries."""

import os
import site
import sysconfig
from types import FrameType
from typing import Final

from aos_sdk.cus_providers.registry import PACKAGES

# Packages whose frames are between a program's own line and the wire.
_LIBRARIES: Final = frozenset(
    {
        *("aos_sdk", *PACKAGES, "httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3"),
        "websockets",
        *("aiohttp", "botocore", "boto3", "anyio", "asyncio", "concurrent", "contextlib"),
        *("functools", "threading", "uvloop", "trio", "tenacity", "backoff", "stamina"),
        *("litellm", "dspy", "pydantic_ai", "instructor", "llama_index", "autogen"),
        *("autogen_core", "autogen_agentchat", "autogen_ext", "crewai", "haystack", "smolagents"),
        *("openinference", "opentelemetry", "ddtrace", "sentry_sdk", "wrapt", "langsmith"),
        *("guidance", "marvin", "mirascope", "semantic_kernel", "portkey_ai", "logfire"),
    }
)
# A program's own package may have such a name, so these are libraries only where they are installed.
_COMMON_NAMES: Final = frozenset({"agents"})
# `langchain`, `langchain_core`, `langchain_openai`, `langgraph`, `llama_index_core`, ….
_FAMILIES: Final = ("langchain", "langgraph", "llama_index", "haystack_", "crewai_")
_NOWHERE: Final = ("?", 0)


def _site_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths["purelib"], paths["platlib"]}
    found.update(site.getsitepackages() if hasattr(site, "getsitepackages") else ())
    found.add(site.getusersitepackages() if hasattr(site, "getusersitepackages") else "")
    return tuple(f"{folder}{os.sep}" for folder in found if folder)


_OF_PACKAGES: Final = _site_folders()
# The folder of the packages may be within that of Python.
_OF_PYTHON: Final = (
    "<frozen ",
    *(f"{sysconfig.get_paths()[name]}{os.sep}" for name in ("stdlib", "platstdlib")),
)


def call_site(frame: FrameType | None) -> tuple[str, int]:
    """File and line of the program's own frame, from this frame on outwards.

    That is the first frame outside of installed packages and of known libraries, which a program
    may carry in its own folder. A program may itself be installed like a library: without such a
    frame it is the first frame that is of no known library, else the outermost frame.
    """
    installed = outermost = None
    while frame is not None:
        file = frame.f_code.co_filename
        is_installed = file.startswith(_OF_PACKAGES)
        if not _is_known(frame, is_installed=is_installed):
            if is_installed:
                installed = installed or frame
            elif not file.startswith(_OF_PYTHON):
                return file, frame.f_lineno
        outermost, frame = frame, frame.f_back
    found = installed or outermost
    return (found.f_code.co_filename, found.f_lineno) if found else _NOWHERE


def _is_known(frame: FrameType, *, is_installed: bool) -> bool:
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    if package in _COMMON_NAMES:
        return is_installed
    return package in _LIBRARIES or package.startswith(_FAMILIES)
