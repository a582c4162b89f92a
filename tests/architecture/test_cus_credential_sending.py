"""Credentials are opened and sent in one module, `cus_credentials.sending` (ruling C4a)."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("aos_project", "enforcement", "integrations", "telemetry")
SENDING = "integrations.cus_credentials.sending"
_ENVELOPE = "integrations.cus_credentials.envelope"
_STORES = "integrations.cus_credentials.registry"
_SERVICE = "integrations.cus_credentials.service"
_ROTATION = "integrations.cus_credentials.rotation"
_SIGNING = "integrations.cus_credentials.signing"
# Sends no credential: a message to a customer's receiver, signed.
_NOTIFIES = "integrations.cus_notifications.sending"
_ROTATE = "integrations.management.commands.cus_credential_rotate"
_PROVIDER = "integrations.cus_providers.provider"
_PROVIDERS = "integrations.cus_providers.registry"
_AGREEMENT = "integrations.cus_providers.agreement"
_ORIGIN = "integrations.cus_providers.origin"
_HTTP = "integrations.cus_providers.safe_http"
_HEALTH = "integrations.cus_health.service"
_VAULT = "integrations.cus_credentials.vault"


def _provider_files() -> set[str]:
    """The modules that describe one provider each."""
    room = ROOT / "integrations" / "cus_providers"
    return {
        f"integrations.cus_providers.{path.stem}"
        for path in room.glob("*.py")
        if "\nPROVIDER = Provider(" in path.read_text()
    }


# A step from a stored credential to a request that carries it, and the modules that may take it.
STEPS: Mapping[str, set[str]] = {
    "AESGCM": {_ENVELOPE},
    "open_sealed": {_ENVELOPE, _STORES, _SIGNING},
    "sealed": {
        "integrations.cus_credentials.models",
        _ENVELOPE,
        _SERVICE,
        _STORES,
        _ROTATION,
        _SIGNING,
    },
    "store_of": {_STORES, _SERVICE, SENDING},
    "DatabaseStore": {_STORES},
    "EnvironmentStore": {_STORES},
    "VaultStore": {_STORES, _VAULT},
    "parsed_credential": {_STORES, SENDING, _ROTATE},
    "OpenedCredential": {_STORES, SENDING, _ROTATE},
    "probe_class": {_PROVIDER, _PROVIDERS, _AGREEMENT, *_provider_files()},
    "probe_of": {_PROVIDERS, _ORIGIN, SENDING},
    "SafeHttp": {_HTTP, _HEALTH, SENDING, _NOTIFIES},
    "CusCredentialSender": {SENDING, _HEALTH},
}
# What speaks to the network, and the modules that may use it. Those of the runner and the demo
# speak to the product's own processes.
CLIENTS = (
    "aiohttp", "anthropic", "boto3", "botocore.httpsession", "ftplib", "http.client", "httpx",
    "httpx2", "hvac", "openai", "requests", "smtplib", "socket", "urllib.request", "urllib3",
    "websockets",
)  # fmt: skip
CLIENT_USERS = {
    _HTTP,
    _VAULT,
    "integrations.cus_mail.service",
    "aos_project.cus_demo.cus_product",
    "aos_project.cus_runner",
}


def _product() -> dict[str, str]:
    """Every module of the server: its dotted name and its source."""
    paths = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text()
        for path in paths
        if "migrations" not in path.parts
    }


def _names(tree: ast.AST) -> Iterator[str]:
    """What a module names: in code, in imports, and in texts that are nothing but a name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def _imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a module imports, by a statement or by `import_module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            yield from (str(text.value) for text in node.args if isinstance(text, ast.Constant))


def _is_client(module: str) -> bool:
    return any(module == client or module.startswith(f"{client}.") for client in CLIENTS)


def strangers(modules: Mapping[str, str]) -> set[tuple[str, str]]:
    """(module, name) wherever a module takes a step towards sending that is not its own."""
    found = set()
    for module, source in modules.items():
        tree = ast.parse(source)
        for name in _names(tree):
            if name in STEPS and module not in STEPS[name]:
                found.add((module, name))
        for imported in _imports(tree):
            if _is_client(imported) and module not in CLIENT_USERS:
                found.add((module, imported))
    return found


def test_one_module_opens_credentials_and_sends_them() -> None:
    assert strangers(_product()) == set()


PLANTED = {
    "asks with a credential that it opened": """
from integrations.cus_credentials.sending import CusCredentialSender
def ask(integration, http):
    return http.get("https://a.example", CusCredentialSender(integration.tenant, http)._open(integration))
""",
    "by the module's name": """
import integrations.cus_credentials.sending as sending
def ask(integration, http):
    return sending.CusCredentialSender(integration.tenant, http)
""",
    "reads the store": """
from integrations.cus_credentials.registry import store_of
def key(integration):
    return store_of(integration.credential_ref).read(integration)
""",
    "reads the store by a text": """
from importlib import import_module
def key(integration):
    return getattr(import_module("integrations.cus_credentials.registry"), "store_of")("db://")
""",
    "opens the envelope": """
from integrations.cus_credentials import envelope
def key(ring, text, row):
    return envelope.open_sealed(ring, text, row=row)
""",
    "reads the column": """
from integrations.cus_credentials.models import CusCredential
def rows():
    return CusCredential.objects.values_list("sealed", flat=True)
""",
    "probes by itself": """
from integrations.cus_providers.registry import probe_of
def ask(integration, credential, http):
    return probe_of(integration.provider_type, integration.config, credential).ask(http)
""",
    "probes with a provider's class": """
from integrations.cus_providers.registry import provider_of
def ask(integration, credential, http):
    return provider_of(integration.provider_type).probe_class({}, credential).ask(http)
""",
    "sends what was typed": """
import requests
def try_out(base_url, credential):
    return requests.get(base_url, headers={"api-key": credential["api_key"]}, timeout=1)
""",
    "sends with the guarded client": """
from integrations.cus_providers.safe_http import SafeHttp
def try_out(base_url, credential):
    return SafeHttp.from_settings().get(base_url, credential)
""",
    "sends over a provider's own client": """
from openai import OpenAI
def models(key):
    return OpenAI(api_key=key).models.list()
""",
    "sends with a client that it imports by a text": """
import importlib
def models(key):
    return importlib.import_module("openai").OpenAI(api_key=key).models.list()
""",
    "sends over a connection of its own": """
from http import client
def ask(host, key):
    client.HTTPSConnection(host).request("GET", "/", headers={"api-key": key})
""",
}  # fmt: skip


@pytest.mark.parametrize("source", PLANTED.values(), ids=PLANTED.keys())
@pytest.mark.parametrize("folder", ["integrations", "telemetry", "aos_project"])
def test_a_new_sender_beside_it_is_noticed(folder: str, source: str) -> None:
    assert strangers({f"{folder}.cus_planted": source})


def test_each_name_is_one_that_the_product_has() -> None:
    """Else a renamed step would go unwatched."""
    product = _product()

    for word, modules in STEPS.items():
        assert all(word in product[module] for module in modules), word
    for module in CLIENT_USERS:
        assert any(map(_is_client, _imports(ast.parse(product[module])))), module
