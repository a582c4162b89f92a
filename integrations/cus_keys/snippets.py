"""Ready programs for a key: one for each way to capture calls, with the server's address and the key.

`docs/sdk.md` describes the ways; a test compiles each program of it.
"""

from dataclasses import dataclass

# What stands for a key whose text is not known any more.
PLACEHOLDER = "<your SDK key>"
_PACKAGE = "aos-customer-integrations-sdk"


@dataclass(frozen=True)
class Snippet:
    """A way of capture: what it is for, and its program. `is_python` is False for a shell's."""

    title: str
    about: str
    text: str
    is_python: bool = True


@dataclass(frozen=True)
class _Client:
    """How a program calls a provider: the package, the client, a call with it, and the model."""

    extra: str
    provider: str
    client: str
    call: str
    model: str
    adapter: str


_MESSAGES = '[{"role": "user", "content": "Say hello."}]'
_OPENAI_CALL = f'client.chat.completions.create(model="gpt-4o", messages={_MESSAGES})'
_ANTHROPIC_CALL = (
    f'client.messages.create(model="claude-sonnet-4", max_tokens=100, messages={_MESSAGES})'
)
_OPENAI = _Client(
    "openai",
    "openai",
    "from openai import OpenAI\n\nclient = OpenAI()",
    _OPENAI_CALL,
    "gpt-4o",
    'CusOpenAIProvider().ask("Say hello.", "gpt-4o", agent_id="greeter")',
)
_ANTHROPIC = _Client(
    "anthropic",
    "anthropic",
    "from anthropic import Anthropic\n\nclient = Anthropic()",
    _ANTHROPIC_CALL,
    "claude-sonnet-4",
    "CusAnthropicProvider().messages_create(\n"
    f'    model="claude-sonnet-4", max_tokens=100, messages={_MESSAGES}\n)',
)
_CLIENTS = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "azure_openai": _Client(
        "openai",
        "azure_openai",
        "from openai import AzureOpenAI\n\nclient = AzureOpenAI()",
        _OPENAI_CALL,
        "gpt-4o",
        f"CusOpenAIProvider(client=client).chat_completions_create(\n"
        f'    model="gpt-4o", messages={_MESSAGES}\n)',
    ),
    "bedrock": _Client(
        "anthropic",
        "bedrock",
        "from anthropic import AnthropicBedrock\n\nclient = AnthropicBedrock()",
        _ANTHROPIC_CALL,
        "claude-sonnet-4",
        "CusAnthropicProvider(client=client).messages_create(\n"
        f'    model="claude-sonnet-4", max_tokens=100, messages={_MESSAGES}\n)',
    ),
}


def snippets(provider_type: str, address: str, key: str) -> list[Snippet]:
    """The ways for an integration of this provider type, the easiest first.

    `address` is where programs reach this server, without a "/" at its end.
    """
    client = _CLIENTS.get(provider_type, _OPENAI)
    configure = f'cus_configure(\n    integration_key="{key}",\n    base_url="{address}",\n)\n'
    return [
        _environment(client, address, key),
        *_of_all_calls(client, configure),
        *_of_one_call(client, configure),
        Snippet(
            "Plain HTTP",
            "For programs that call the provider without its package.",
            "from aos_sdk import cus_configure, cus_install_middleware\n\n"
            f"{configure}cus_install_middleware(patch_http=True)\n",
        ),
        _any_language(client, address, key),
    ]


def _environment(client: _Client, address: str, key: str) -> Snippet:
    return Snippet(
        "Environment",
        "Install the SDK, and give it key and address once: then the programs below need no "
        "cus_configure.",
        f"pip install '{_PACKAGE}[{client.extra}]'\n"
        f"export AOS_BASE_URL='{address}'\n"
        f"export CUS_INTEGRATION_KEY='{key}'\n",
        is_python=False,
    )


def _of_all_calls(client: _Client, configure: str) -> list[Snippet]:
    return [
        Snippet(
            "All calls",
            "Once, at the program's start. Every call with the provider's own package is recorded.",
            "from aos_sdk import cus_configure, cus_install_middleware\n\n"
            f"{configure}cus_install_middleware()\n\n{client.client}\n{client.call}\n",
        ),
        Snippet("Adapter", "In place of the provider's client.", _adapter(client, configure)),
    ]


def _of_one_call(client: _Client, configure: str) -> list[Snippet]:
    return [
        Snippet(
            "Function",
            "On a function that makes one call.",
            "from aos_sdk import cus_configure, cus_telemetry\n\n"
            f"{configure}\n{client.client}\n\n\n"
            f'@cus_telemetry(model="{client.model}", provider="{client.provider}")\n'
            f"def greet():\n    return {client.call}\n\n\ngreet()\n",
        ),
        Snippet(
            "Block",
            "Around code that makes one call.",
            "from aos_sdk import cus_configure, cus_track\n\n"
            f"{configure}\n{client.client}\n\n"
            f'with cus_track("{client.model}", provider="{client.provider}") as tracker:\n'
            f"    response = {client.call}\n"
            f'    tracker.set_usage_from_response(response, "{client.provider}")\n',
        ),
        Snippet(
            "Wrapper",
            "Around one call, whatever it returns.",
            "from aos_sdk import cus_configure, cus_wrap\n\n"
            f"{configure}\n{client.client}\n"
            f'cus_wrap(lambda: {client.call}, model="{client.model}")\n',
        ),
    ]


def _any_language(client: _Client, address: str, key: str) -> Snippet:
    return Snippet(
        "Any language",
        "Report a call by hand. This one can be sent as it is, to see a first call arrive.",
        f"curl -sS '{address}/api/v1/cus/telemetry/llm-usage' \\\n"
        f"  -H 'X-CUS-Integration-Key: {key}' -H 'Content-Type: application/json' \\\n"
        f'  -d \'{{"call_id": "first-call-\'$(date +%s)\'", "model": "{client.model}", '
        '"tokens_in": 9, "tokens_out": 3, "latency_ms": 250}\'\n',
        is_python=False,
    )


def _adapter(client: _Client, configure: str) -> str:
    name = client.adapter.partition("(")[0]
    own = f"\n{client.client}\n" if "client=client" in client.adapter else ""
    return f"from aos_sdk import {name}, cus_configure\n\n{configure}{own}{client.adapter}\n"
