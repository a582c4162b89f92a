"""The contestants: controls, our SDK, and the peers, each in an environment of its own."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aos_project.cus_runner import BASE_DIR
from benchmarks.cus_peer_servers import install, quiet_environment

_VENVS: Final = BASE_DIR / ".data" / "bench-sdk"
_OPENAI: Final = "openai==3.54.0"
_OTLP: Final = ("opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2")


@dataclass(frozen=True)
class Contestant:
    """One way to have calls observed, or none. `name` is that of its setup."""

    name: str
    title: str
    # What a program imports for it; nothing where that is nothing.
    imports: str = ""
    # A peer's packages beside openai, with openai's version where it wants another.
    packages: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_peer(self) -> bool:
        return bool(self.packages)

    @property
    def python(self) -> str:
        return str(_VENVS / self.name / "bin" / "python") if self.is_peer else sys.executable

    def install(self) -> None:
        """A peer's packages, unless they are there. Raises NotInstallable."""
        if not self.is_peer:
            return
        _VENVS.mkdir(parents=True, exist_ok=True)
        installed, wanted = _VENVS / self.name / "installed.txt", "\n".join(self.packages)
        if installed.exists() and installed.read_text() == wanted:
            return
        install(self.packages, _VENVS / self.name)
        installed.write_text(wanted)

    def environment(self, folder: Path) -> dict[str, str]:
        """Its processes' environment: without this program's, and reporting to our sink alone."""
        # Its own packages, and the checkout's modules that are run in it.
        return {
            **quiet_environment(str(folder)),
            **self.settings,
            "PATH": os.defpath,
            "PYTHONPATH": str(BASE_DIR),
        }


BARE: Final = Contestant("bare", "bare once more")
CONTROLS: Final = (BARE, Contestant("null", "empty patch"))
OURS: Final = (
    Contestant("durable", "ours, durable", "import aos_sdk"),
    Contestant("memory", "ours, in memory"),
)
LEASED: Final = Contestant("leased", "ours, under a limit")
PEERS: Final = (
    Contestant(
        "otel",
        "otel openai-v2 2.4b0",
        "import opentelemetry.instrumentation.openai_v2",
        # It imports httpx, which openai 3 doesn't bring, and a module that later genai utils moved.
        (
            *(_OPENAI, "opentelemetry-instrumentation-openai-v2==2.4b0", *_OTLP),
            *("opentelemetry-util-genai==0.4b0", "httpx==0.28.1"),
        ),
    ),
    Contestant(
        "langfuse", "langfuse 5.0.4", "import langfuse.openai", (_OPENAI, "langfuse==5.0.4")
    ),
    Contestant(
        "posthog", "posthog 7.91.1", "import posthog.ai.openai", (_OPENAI, "posthog==7.91.1")
    ),
    Contestant(
        "openllmetry",
        "OpenLLMetry 0.62.4",
        "import opentelemetry.instrumentation.openai",
        (_OPENAI, "opentelemetry-instrumentation-openai==0.62.4", *_OTLP),
        {"TRACELOOP_TELEMETRY": "false"},
    ),
    Contestant("logfire", "logfire 4.41.0", "import logfire", (_OPENAI, "logfire==4.41.0")),
    Contestant(
        "langsmith",
        "langsmith 0.15.0",
        "import langsmith.wrappers",
        (_OPENAI, "langsmith==0.15.0"),
        {"LANGSMITH_TRACING": "true"},
    ),
)
