"""Which of the providers' methods are calls, and how such a call is prepared."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from aos_sdk.cus_configuration import CusConfiguration
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_scope import CusIdentity, current_call, current_identity
from aos_sdk.cus_tracker import CusCallTracker
from aos_sdk.cus_wire import CusOperation

_RAW_RESPONSE_HEADER: Final = "X-Stainless-Raw-Response"
# The first version of Azure's API that takes `stream_options`.
_FIRST_AZURE_VERSION: Final = "2024-09-01"
_AZURE_HOSTS: Final = (
    ".openai.azure.com",
    ".services.ai.azure.com",
    ".cognitiveservices.azure.com",
)
# What records call the provider, by the class of the client or one of its bases.
_PROVIDER_OF_CLIENT: Final[Mapping[str, str]] = {
    "BaseAzureClient": "azure_openai",
    "BaseBedrockClient": "bedrock",
    "AnthropicBedrock": "bedrock",
    "AsyncAnthropicBedrock": "bedrock",
    "AnthropicBedrockMantle": "bedrock",
    "AsyncAnthropicBedrockMantle": "bedrock",
    "BaseVertexClient": "vertex",
}


_NOBODY: Final = CusIdentity()


class CusSurface(NamedTuple):
    """A kind of provider call. With `can_inject`, its streams report usage only if asked to."""

    provider: str
    operation: CusOperation
    can_inject: bool = False
    is_batch: bool = False


CHAT: Final = CusSurface("openai", CusOperation.CHAT, can_inject=True)
COMPLETION: Final = CusSurface("openai", CusOperation.COMPLETION, can_inject=True)
RESPONSES: Final = CusSurface("openai", CusOperation.RESPONSES)
EMBEDDING: Final = CusSurface("openai", CusOperation.EMBEDDING)
IMAGE: Final = CusSurface("openai", CusOperation.IMAGE)
AUDIO: Final = CusSurface("openai", CusOperation.AUDIO)
MESSAGES: Final = CusSurface("anthropic", CusOperation.CHAT)
TEXT_COMPLETION: Final = CusSurface("anthropic", CusOperation.COMPLETION)
BATCH_RESULTS: Final = CusSurface("anthropic", CusOperation.CHAT, is_batch=True)


class CusTarget(NamedTuple):
    """Methods of a class, and of its asynchronous sibling, in a module of a provider's package."""

    module: str
    class_name: str
    methods: tuple[str, ...]
    surface: CusSurface


def _targets() -> Iterator[CusTarget]:
    openai, anthropic = "openai.resources", "anthropic.resources"
    # The chat stream helpers send by `create`; so does `responses.stream`.
    for module in ("chat.completions.completions", "chat.completions", "beta.chat.completions"):
        yield CusTarget(f"{openai}.{module}", "Completions", ("create", "parse"), CHAT)
    for module in ("responses.responses", "beta.responses.responses"):
        methods = ("create", "parse", "compact")
        yield CusTarget(f"{openai}.{module}", "Responses", methods, RESPONSES)
    yield CusTarget(f"{openai}.completions", "Completions", ("create",), COMPLETION)
    yield CusTarget(f"{openai}.embeddings", "Embeddings", ("create",), EMBEDDING)
    images = ("generate", "edit", "create_variation")
    yield CusTarget(f"{openai}.images", "Images", images, IMAGE)
    yield CusTarget(f"{openai}.audio.transcriptions", "Transcriptions", ("create",), AUDIO)
    yield CusTarget(f"{openai}.audio.translations", "Translations", ("create",), AUDIO)
    yield CusTarget(f"{openai}.audio.speech", "Speech", ("create",), AUDIO)
    # The tool runners send by `create`, `parse` or `stream`: each request is a call.
    messages = ("create", "parse", "stream")
    for module in (
        "anthropic.resources.messages.messages",
        "anthropic.resources.messages",
        "anthropic.resources.beta.messages.messages",
        # These hold the very functions of the above, so they must be looked at after them.
        "anthropic.lib.bedrock._beta_messages",
        "anthropic.lib.vertex._beta_messages",
    ):
        yield CusTarget(module, "Messages", messages, MESSAGES)
    yield CusTarget(f"{anthropic}.completions", "Completions", ("create",), TEXT_COMPLETION)
    for module in ("messages.batches", "beta.messages.batches"):
        yield CusTarget(f"{anthropic}.{module}", "Batches", ("results",), BATCH_RESULTS)


TARGETS: Final = tuple(_targets())


class CusProviderCall(CusCallTracker):
    """One call of a provider's method. What its method calls in turn is a part of it."""

    is_leaf = True
    is_settled = True
    batch: Any = None  # for results of a batch: the batch, once its method has looked it up

    # In place of the base's, which has more to ask: this is on the program's clock. Python makes an
    # object of up to four arguments without memory for them.
    def __init__(
        self, reporter: CusReporter, provider: str, surface: CusSurface, arguments: dict[str, Any]
    ) -> None:
        self.reporter = reporter
        self.provider = provider
        self.operation = surface.operation
        self.arguments = arguments
        model = arguments.get("model")
        self.model = model if type(model) is str else _plain(model)


def prepare_call(
    surface: CusSurface,
    client: Any,
    kwargs: dict[str, Any],
    configuration: CusConfiguration,
    reporter: CusReporter,
    call_id: str | None = None,
) -> CusProviderCall | None:
    """The call that is about to be made, or None if it is a part of another one.

    What it sends is in its `arguments`: `kwargs` themselves, unless a stream is asked for its usage.
    """
    outer: CusCallTracker | None = current_call()
    if outer is not None and outer.is_leaf and outer.latency_ms is None:
        return None
    kind, default = type(client), surface.provider
    provider = _providers[default].get(kind) or _learn_provider(kind, default)
    call = CusProviderCall(reporter, provider, surface, kwargs)
    call.call_id = call_id or None
    identity = current_identity() or _NOBODY
    session_id, agent_id = identity.session_id, identity.agent_id
    call.session_id = configuration.session_id if session_id is None else session_id
    call.agent_id = configuration.agent_id if agent_id is None else agent_id
    if surface.can_inject and kwargs.get("stream") and configuration.stream_usage == "inject":
        _ask_for_usage(call, client, kwargs)
    return call


# What the calls of a client's class are known by, learned once a class.
_providers: Final[Mapping[str, dict[type, str]]] = {"openai": {}, "anthropic": {}}


def _learn_provider(kind: type, default: str) -> str:
    names = (base.__name__ for base in kind.__mro__)
    known = (_PROVIDER_OF_CLIENT[name] for name in names if name in _PROVIDER_OF_CLIENT)
    provider = _providers[default][kind] = next(known, default)
    return provider


def _plain(model: object) -> str:
    # A member of somebody's enumeration of models is a text, and may call itself otherwise.
    return str.__str__(model) if isinstance(model, str) else ""


def is_raw(kwargs: Mapping[str, Any]) -> bool:
    """Whether the caller wants the raw response, and nothing in it that he did not ask for."""
    headers = kwargs.get("extra_headers")
    return isinstance(headers, Mapping) and _RAW_RESPONSE_HEADER in headers


def _ask_for_usage(call: CusProviderCall, client: Any, kwargs: dict[str, Any]) -> None:
    options, body = kwargs.get("stream_options"), kwargs.get("extra_body")
    options = options if isinstance(options, Mapping) else {}
    says = "include_usage" in options or (isinstance(body, Mapping) and "stream_options" in body)
    if says or is_raw(kwargs) or not _takes_stream_options(client):
        return
    call.arguments = {**kwargs, "stream_options": {**options, "include_usage": True}}
    call.hides_usage = True


def _takes_stream_options(client: Any) -> bool:
    url = client.base_url
    host: str = url.host
    if host == "api.openai.com" or host.endswith(".api.openai.com"):
        return True
    if not host.endswith(_AZURE_HOSTS):
        return False
    version = getattr(client, "_api_version", None)
    if isinstance(version, str) and version[:2] == "20":
        return version >= _FIRST_AZURE_VERSION
    return "/openai/v1" in url.path
