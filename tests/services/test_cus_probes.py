"""Each provider's probe against a local server that answers as the provider documents."""

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from integrations.cus_providers.bedrock import BedrockProbe
from integrations.cus_providers.probe_answers import Finding, Verdict, presentable
from integrations.cus_providers.registry import PROVIDERS, probe_of
from integrations.cus_providers.safe_http import MAX_BYTES, SafeHttp
from tests.cus_raw_server import Behaviour, RawServer, drip, says, silence

KEY = "canary-0123456789abcdef"
AWS = {
    "aws_access_key_id": "AKIACANARY0000000001",
    "aws_secret_access_key": "canary/secret+0123456789abcdefghij",
    "aws_session_token": "canary-session-token-0123456789",
}
OPENAI_LIST = {"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]}
BEDROCK_LIST = {"modelSummaries": [{"modelId": "amazon.nova-pro-v1:0"}]}
CONFIGS: dict[str, dict[str, str]] = {
    "openai": {"organization": "org-1", "project": "proj-1"},
    "anthropic": {},
    "azure_openai": {},
    "bedrock": {"region": "eu-central-1"},
    "custom": {},
}
CREDENTIALS = {name: {"api_key": KEY} for name in PROVIDERS} | {"bedrock": AWS}


def _openai(code: str, message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _anthropic(kind: str, message: str = "words") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


def _azure(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _aws(kind: str, message: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    return {"message": message}, [("x-amzn-ErrorType", f"{kind}:http://internal.amazon.com/")]


def _ask(
    provider: str,
    behaviour: Behaviour,
    config: dict[str, str] | None = None,
    credential: dict[str, str] | None = None,
    seconds: float = 20,
) -> tuple[Finding, RawServer]:
    with RawServer(behaviour) as server:
        http = SafeHttp(private_hosts=frozenset({f"127.0.0.1:{server.port}"}), plain_http=True)
        settings = {"base_url": server.url} | (CONFIGS[provider] if config is None else config)
        probe = probe_of(provider, settings, credential or CREDENTIALS[provider])
        return probe.ask(http, seconds=seconds), server


# --- Good ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "body", "request_line"),
    [
        ("openai", OPENAI_LIST, "GET /models HTTP/1.1"),
        ("anthropic", {"data": [], "has_more": False}, "GET /v1/models?limit=1 HTTP/1.1"),
        ("azure_openai", OPENAI_LIST, "GET /openai/models?api-version=2024-10-21 HTTP/1.1"),
        ("bedrock", BEDROCK_LIST, "GET /foundation-models?byOutputModality=TEXT HTTP/1.1"),
        ("custom", OPENAI_LIST, "GET /models HTTP/1.1"),
    ],
)
def test_a_good_key_passes_by_one_request_that_costs_nothing(
    provider: str, body: dict[str, Any], request_line: str
) -> None:
    finding, server = _ask(provider, says(200, body))

    assert finding.verdict is Verdict.OK
    assert finding.latency_ms is not None
    assert server.requests == [request_line]


def test_openai_is_told_organization_and_project() -> None:
    headers = _ask("openai", says(200, OPENAI_LIST))[1].headers()

    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["openai-organization"] == "org-1"
    assert headers["openai-project"] == "proj-1"


def test_anthropic_is_told_its_version() -> None:
    headers = _ask("anthropic", says(200, OPENAI_LIST))[1].headers()

    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")


@pytest.mark.parametrize(
    ("credential", "name", "value"),
    [
        ({"api_key": KEY}, "api-key", KEY),
        ({"azure_ad_token": KEY}, "authorization", f"Bearer {KEY}"),
    ],
)
@pytest.mark.parametrize("path", ["", "/", "/openai", "/openai/v1/"])
def test_azure_takes_a_key_or_a_token_and_any_common_base_url(
    credential: dict[str, str], name: str, value: str, path: str
) -> None:
    with RawServer(says(200, OPENAI_LIST)) as server:
        http = SafeHttp(private_hosts=frozenset({"127.0.0.1"}), plain_http=True)
        config = {"base_url": server.url + path, "api_version": "2025-04-01-preview"}
        assert probe_of("azure_openai", config, credential).ask(http).verdict is Verdict.OK
    assert server.headers()[name] == value
    assert server.requests == ["GET /openai/models?api-version=2025-04-01-preview HTTP/1.1"]


def test_bedrock_is_asked_with_a_signature_and_never_with_the_secret() -> None:
    server = _ask("bedrock", says(200, BEDROCK_LIST))[1]
    headers = server.headers()

    assert headers["authorization"].startswith(
        f"AWS4-HMAC-SHA256 Credential={AWS['aws_access_key_id']}/"
    )
    assert "/eu-central-1/bedrock/aws4_request" in headers["authorization"]
    assert headers["x-amz-security-token"] == AWS["aws_session_token"]
    assert AWS["aws_secret_access_key"].encode() not in server.heads[0]


def test_bedrock_takes_an_api_key_as_well() -> None:
    _, server = _ask("bedrock", says(200, BEDROCK_LIST), credential={"api_key": KEY})
    assert server.headers()["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("provider", "url"),
    [
        ("openai", "https://api.openai.com/v1/models"),
        ("anthropic", "https://api.anthropic.com/v1/models?limit=1"),
        (
            "bedrock",
            "https://bedrock.eu-central-1.amazonaws.com/foundation-models?byOutputModality=TEXT",
        ),
    ],
)
def test_well_known_providers_are_where_they_are(provider: str, url: str) -> None:
    assert probe_of(provider, CONFIGS[provider], CREDENTIALS[provider]).request()[0] == url


def test_a_custom_server_may_have_a_health_path_that_says_anything() -> None:
    finding, server = _ask("custom", says(204), {"health_path": "/healthz"})
    assert finding.verdict is Verdict.OK
    assert server.requests == ["GET /healthz HTTP/1.1"]


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_a_list_longer_than_what_is_read_is_a_list(provider: str) -> None:
    name = "modelSummaries" if provider == "bedrock" else "data"
    endless = {"object": "list", name: [{"id": "x" * 100}] * 2_000}
    assert len(json.dumps(endless)) > MAX_BYTES
    assert _ask(provider, says(200, endless))[0].verdict is Verdict.OK


# --- What providers say when something is wrong -------------------------------------------------

_SCOPES = "You have insufficient permissions for this operation. Missing scopes: api.model.read."
_WRONG_AZURE_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a "
    "valid key for an active subscription and use a correct regional API endpoint."
)
_WRONG_AZURE_TOKEN = "Unauthorized. Access token is missing, invalid, audience is incorrect."
_BAD, _MAY_NOT, _REFUSED = Verdict.BAD_KEY, Verdict.MISSING_PERMISSION, Verdict.CONFIG_REFUSED
_ODD, _DOWN, _LIMITED = Verdict.UNEXPECTED, Verdict.PROVIDER_DOWN, Verdict.RATE_LIMITED

DOCUMENTED: list[tuple[str, int, Any, Verdict]] = [
    ("openai", 401, _openai("invalid_api_key", "Incorrect API key provided."), _BAD),
    ("openai", 401, _openai("missing_scope", _SCOPES), _MAY_NOT),
    ("openai", 401, _openai("ip_not_authorized", "Your IP is not authorized."), _MAY_NOT),
    ("openai", 401, _openai("mismatched_organization", "No such organization."), _REFUSED),
    ("openai", 403, _openai("unsupported_country_region_territory", "No."), _MAY_NOT),
    ("openai", 404, _openai("unknown_url", "Unknown request URL."), _REFUSED),
    ("openai", 429, _openai("rate_limit_exceeded", "Slow down."), _LIMITED),
    ("openai", 429, _openai("insufficient_quota", "No credit."), _LIMITED),
    ("openai", 500, _openai("server_error", "Oops."), _DOWN),
    ("openai", 503, b"<html>overloaded</html>", _DOWN),
    ("anthropic", 401, _anthropic("authentication_error", "invalid x-api-key"), _BAD),
    ("anthropic", 403, _anthropic("permission_error"), _MAY_NOT),
    ("anthropic", 400, _anthropic("invalid_request_error", "anthropic-version: bad"), _REFUSED),
    ("anthropic", 400, _anthropic("invalid_request_error", "spend limit reached"), _ODD),
    ("anthropic", 404, _anthropic("not_found_error"), _REFUSED),
    ("anthropic", 429, _anthropic("rate_limit_error"), _LIMITED),
    ("anthropic", 529, _anthropic("overloaded_error"), _DOWN),
    ("azure_openai", 401, _azure("401", _WRONG_AZURE_KEY), _BAD),
    ("azure_openai", 401, _azure("Unauthorized", _WRONG_AZURE_TOKEN), _BAD),
    ("azure_openai", 401, {"statusCode": 401, "message": _WRONG_AZURE_TOKEN}, _BAD),
    ("azure_openai", 401, _azure("PermissionDenied", "The principal lacks an action."), _MAY_NOT),
    ("azure_openai", 403, _azure("403", "Access denied due to Firewall rules."), _MAY_NOT),
    ("azure_openai", 404, _azure("404", "Resource not found"), _REFUSED),
    ("azure_openai", 400, _azure("UnsupportedApiVersion", "No such version."), _REFUSED),
    ("azure_openai", 429, _azure("429", "Rate limit."), _LIMITED),
    ("bedrock", 403, _aws("UnrecognizedClientException", "The token is invalid."), _BAD),
    ("bedrock", 403, _aws("InvalidClientTokenId", "No such key."), _BAD),
    ("bedrock", 403, _aws("ExpiredTokenException", "The token has expired."), _BAD),
    ("bedrock", 403, _aws("InvalidSignatureException", "It does not match."), _BAD),
    ("bedrock", 403, _aws("InvalidSignatureException", "Signature expired: 2026"), _MAY_NOT),
    ("bedrock", 403, _aws("AccessDeniedException", "User is not authorized."), _MAY_NOT),
    (
        "bedrock",
        403,
        _aws("AccessDeniedException", "Authentication failed: make sure your API Key is valid."),
        _BAD,
    ),
    ("bedrock", 400, _aws("ThrottlingException", "Too many requests"), _LIMITED),
    ("bedrock", 404, _aws("UnknownOperationException", "None"), _REFUSED),
    ("bedrock", 500, _aws("InternalServerException", "Oops"), _DOWN),
    ("custom", 401, {"error": "Unauthorized"}, _BAD),
    ("custom", 401, {"detail": "Invalid token"}, _BAD),
    ("custom", 403, {"error": {"message": "no"}}, _MAY_NOT),
    ("custom", 404, {"detail": "Not Found"}, _REFUSED),
    ("custom", 502, b"Bad gateway", _DOWN),
]


@pytest.mark.parametrize(("provider", "status", "answer", "verdict"), DOCUMENTED)
def test_a_provider_is_understood_in_its_own_words(
    provider: str, status: int, answer: Any, verdict: Verdict
) -> None:
    body, headers = answer if isinstance(answer, tuple) else (answer, [])
    finding, _ = _ask(provider, says(status, body, headers))
    assert finding.verdict is verdict


_GARBAGE: list[Behaviour] = [
    says(200, b""),
    says(200, b"<html>Sign in to the hotel's network</html>"),
    says(200, b"[" * 60_000),
    says(200, b'{"data": "nothing"}'),
    says(200, b"x" * 100_000),
    says(200, b"\xff\xfe\0"),
    says(302, b"", [("Location", "https://sign-in.example/")]),
    says(401, b"<html>Who are you?</html>"),
    says(403, b""),
    says(404, b"<html>Not here</html>"),
    says(418, {"error": {"code": 7, "message": ["x"], "type": None}}),
]


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize("number", range(len(_GARBAGE)))
def test_what_is_no_providers_answer_never_speaks_about_the_key(provider: str, number: int) -> None:
    assert _ask(provider, _GARBAGE[number])[0].verdict is Verdict.UNEXPECTED


def _hang_up(_client: socket.socket, _head: bytes) -> None:
    """Close without an answer."""


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (silence, Verdict.TIMEOUT),
        (drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), Verdict.TIMEOUT),
        (_hang_up, Verdict.PROVIDER_DOWN),
    ],
)
@pytest.mark.timeout(30)
def test_a_provider_that_does_not_answer(
    provider: str, behaviour: Behaviour, verdict: Verdict
) -> None:
    # Headers without end may also be refused for their number before the time is up.
    wanted = {verdict, Verdict.PROVIDER_DOWN}
    assert _ask(provider, behaviour, seconds=0.3)[0].verdict in wanted


# --- What can't be asked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "config", "credential", "verdict"),
    [
        ("azure_openai", {}, {"api_key": KEY}, Verdict.NOT_CHECKABLE),
        ("custom", {}, {"api_key": KEY}, Verdict.NOT_CHECKABLE),
        ("custom", {"base_url": "https://10.0.0.1"}, {"api_key": KEY}, Verdict.NOT_CHECKABLE),
        ("custom", {"base_url": 7}, {"api_key": KEY}, Verdict.NOT_CHECKABLE),
        ("custom", {"base_url": "https://1.1.1.1"}, {"api_key": "a\nb"}, Verdict.NOT_CHECKABLE),
        ("bedrock", {}, AWS, Verdict.NOT_CHECKABLE),
        ("bedrock", {"region": "../x"}, AWS, Verdict.NOT_CHECKABLE),
        ("openai", {}, {}, Verdict.CREDENTIAL_MISSING),
        ("openai", {}, {"api_key": ""}, Verdict.CREDENTIAL_MISSING),
        ("bedrock", {"region": "eu-central-1"}, {}, Verdict.CREDENTIAL_MISSING),
    ],
)
def test_what_can_not_be_asked_is_said_and_asked_of_nobody(
    provider: str, config: dict[str, Any], credential: dict[str, str], verdict: Verdict
) -> None:
    def nobody(host: str, _port: int) -> list[str]:
        raise AssertionError(host)

    assert probe_of(provider, config, credential).ask(SafeHttp(resolve=nobody)).verdict is verdict


@pytest.mark.parametrize(
    ("region", "verdict"),
    [("eu-central-1", Verdict.PROVIDER_DOWN), ("eu-nowhere-7", Verdict.CONFIG_REFUSED)],
)
def test_a_region_is_unknown_only_if_botocore_and_the_resolver_agree(
    region: str, verdict: Verdict
) -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    probe = BedrockProbe({"region": region}, AWS)
    assert probe.ask(SafeHttp(resolve=unknown)).verdict is verdict


# --- What is kept of their words ----------------------------------------------------------------

_ECHOES: list[Callable[[str], str]] = [
    lambda key: f"Incorrect API key provided: {key}.",
    lambda key: f"Incorrect API key provided: {key[:4]}*******{key[-4:]}.",
    lambda key: f"Unknown key '{key[:9]}...'",
    lambda key: f"Unknown key …{key[-8:]}",
    lambda key: json.dumps({"you sent": key}),
    lambda key: base64.b64encode(key.encode()).decode(),
    lambda key: f"Bearer\u00a0{key}\n{key}",
    lambda key: f"{key}{key}",
]


@pytest.mark.parametrize("echo", _ECHOES)
@pytest.mark.parametrize("key", [KEY, 'sp€ci"al\\key/0123456789', "AKIACANARY0000000001"])
def test_a_key_that_a_provider_echoes_is_not_kept(echo: Callable[[str], str], key: str) -> None:
    kept = presentable(f"It says: {echo(key)} Bye.", [key])

    assert "[masked]" in kept
    for at in range(len(key) - 5):
        assert key[at : at + 6] not in kept
    assert kept.isprintable()


def test_a_message_is_cut_and_fit_for_a_database() -> None:
    lone = '{"error": {"message": "a\\ud800b\\u0000c' + "x" * 2_000 + '"}}'
    finding, _ = _ask("custom", says(401, lone.encode()))
    kept = finding.without([KEY]).message

    assert len(kept) == 300
    kept.encode()
    assert "\0" not in kept
