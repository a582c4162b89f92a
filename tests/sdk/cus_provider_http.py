"""What the installed provider packages ride on: openai 3 and anthropic 2 on httpx2, else on httpx."""

import importlib
from types import ModuleType
from typing import Any, Final

import anthropic
import openai


def _rides_on(client: Any) -> ModuleType:
    names = (kind.__module__.partition(".")[0] for kind in client.__mro__)
    return importlib.import_module(next(name for name in names if name.startswith("httpx")))


# Typed as Any: only one of the two packages is there to be known.
openai_http: Final[Any] = _rides_on(openai.DefaultHttpxClient)
anthropic_http: Final[Any] = _rides_on(anthropic.DefaultHttpxClient)
