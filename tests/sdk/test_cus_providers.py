"""A provider's file is all that the SDK needs to know of the provider."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from aos_sdk.cus_providers.provider import CusProviderInfo, CusSupportedRange
from aos_sdk.cus_providers.registry import PACKAGES, PROVIDERS

# Registers a provider before the rest of the SDK is imported, as its place in the list would.
_ADDED = """
import json, sys, types
from aos_sdk.cus_providers import registry
from aos_sdk.cus_providers.provider import (
    CusPackage, CusProviderInfo, CusSupportedRange, CusSurface, CusTarget, CusUsageShape,
)
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_wire import CusOperation

surface = CusSurface("acme", CusOperation.CHAT)
added = CusProviderInfo(
    key="acme",
    other_names=("acme_cloud",),
    package=CusPackage(
        "acmeai",
        CusSupportedRange((1, 0), 2),
        (CusTarget("acmeai.chat", "Chat", ("complete",), surface),),
        agent="Acme",
    ),
    hosts=("api.acme.example",),
    paths=(b"/fim",),
    usage=CusUsageShape(lambda _bearer, usage: CusReportedUsage(usage["in"], usage["out"])),
    takes_stream_options=lambda _client: True,
)
registry.PROVIDERS += (added,)
registry.PACKAGES["acmeai"] = added.package

from aos_sdk import cus_usage
from aos_sdk.cus_capture.bypass import CusBypassWatch
from aos_sdk.cus_capture.patch import PATCHES
from aos_sdk.cus_capture.surfaces import _takes_stream_options
from aos_sdk.cus_doctor import _packages
from aos_sdk.cus_middleware import cus_install_middleware

def request(host, path, agent=""):
    url = types.SimpleNamespace(host=host, raw_path=path)
    return types.SimpleNamespace(method="POST", url=url, headers={"user-agent": agent})

watch = CusBypassWatch()
watch.see(request("api.acme.example", b"/v1/fim"))
watch.see(request("gateway.example", b"/v1/fim", agent="AsyncAcme/Python 1.0"))
watch.see(request("gateway.example.org", b"/v1/fim", agent="curl"))
client = types.SimpleNamespace(base_url=types.SimpleNamespace(host="api.acme.example", path="/"))
cus_install_middleware(patch_openai=False, patch_anthropic=False, detect_bypass=False)
chat, version = types.ModuleType("acmeai.chat"), types.ModuleType("acmeai._version")
version.__version__ = "1.2.0"
sys.modules["acmeai._version"] = version
Chat = type("Chat", (), {"complete": lambda self: None, "__module__": "acmeai.chat"})
chat.Chat, original = Chat, Chat.complete
PATCHES["acmeai"]._patch_module(chat)
answer = {"usage": {"in": 3, "out": 4}}
print(json.dumps({
    "usage": [cus_usage.extract_usage(answer, name) for name in ("acme", "acme_cloud")],
    "hosts": dict(watch.snapshot().hosts),
    "asks": _takes_stream_options(client),
    "patched": Chat.complete is not original,
    "installed": [name for name, patch in PATCHES.items() if patch.is_installed],
    "doctor": [finding.check for finding in _packages()],
}))
"""


def _added() -> dict[str, object]:
    run = subprocess.run(
        [sys.executable, "-c", _ADDED], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, object] = json.loads(run.stdout)
    return found


def test_a_provider_that_is_added_is_read_watched_patched_and_examined() -> None:
    assert _added() == {
        "usage": [[3, 4], [3, 4]],
        "hosts": {"api.acme.example": 1, "gateway.example": 1},
        "asks": True,
        "patched": True,
        "installed": ["acmeai"],
        "doctor": ["openai", "anthropic", "acmeai"],
    }


@pytest.mark.parametrize(
    "field", ["other_names", "client_classes", "hosts", "host_ends", "host_starts", "paths"]
)
def test_nothing_belongs_to_two_providers(field: str) -> None:
    owners = Counter(value for provider in PROVIDERS for value in getattr(provider, field))

    assert [value for value, number in owners.items() if number > 1] == []


def test_every_provider_has_a_name_of_its_own() -> None:
    names = Counter(name for one in PROVIDERS for name in (one.key, *one.other_names))

    assert set(names.values()) == {1}


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.key)
def test_every_provider_is_recognised_by_its_hosts(provider: CusProviderInfo) -> None:
    assert provider.hosts or provider.host_ends or provider.host_starts


@pytest.mark.parametrize("name", PACKAGES)
def test_every_method_of_a_package_is_a_call_of_its_own_provider(name: str) -> None:
    (provider,) = (one for one in PROVIDERS if one.package and one.package.name == name)
    targets = PACKAGES[name].targets

    assert targets
    assert {target.surface.provider for target in targets} == {provider.key}
    assert all(target.module.startswith(f"{name}.") for target in targets)


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("acme.openai.azure.com", "azure_openai"),
        ("acme.services.ai.azure.com", "azure_openai"),
        ("acme.cognitiveservices.azure.com", "azure_openai"),
        ("api.anthropic.com", "anthropic"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "bedrock"),
        ("europe-west1-aiplatform.googleapis.com", "vertex"),
        ("bedrock-mantle.us-east-1.api.aws", "bedrock"),
        ("aiplatform.googleapis.com", "vertex"),
        ("aiplatform.eu.rep.googleapis.com", "vertex"),
        ("api.deepseek.com", "deepseek"),
        ("api.groq.com", "groq"),
        ("openrouter.ai", "openrouter"),
        ("us-east-1.api.x.ai", "x-ai"),
        ("generativelanguage.googleapis.com", "google"),
        ("api.openai.com.example", None),
        ("openai.com", None),
        ("", None),
    ],
)
def test_a_host_belongs_to_one_provider_or_to_none(host: str, owner: str | None) -> None:
    assert [one.key for one in PROVIDERS if one.serves(host)] == ([owner] if owner else [])


def test_a_range_begins_with_its_oldest_release_and_ends_before_the_next_major() -> None:
    supported = CusSupportedRange((1, 66), 4)

    assert [supported.admits(one) for one in ("1.65.9", "1.66.0", "3.99", "4.0", "", "x.y")] == [
        False, True, True, False, False, False,
    ]  # fmt: skip
