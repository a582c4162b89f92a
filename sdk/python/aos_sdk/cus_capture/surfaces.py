"""Prepare the calls of providers' methods."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from aos_sdk.cus_capture.departures import never_left
from aos_sdk.cus_capture.origins import CusCalled, called_by
from aos_sdk.cus_capture.unanswered import COUNTABLE, is_unanswered
from aos_sdk.cus_configuration import CusConfiguration
from aos_sdk.cus_counting.estimates import count_call
from aos_sdk.cus_counting.units import units_of
from aos_sdk.cus_delivery.ended_call import NO_USAGE
from aos_sdk.cus_providers.provider import CusRole, CusSurface
from aos_sdk.cus_providers.registry import provider_of_host
from aos_sdk.cus_reporter import CusReporter
from aos_sdk.cus_scope import current_call, current_identity
from aos_sdk.cus_tags import merged_tags
from aos_sdk.cus_tracker import CusCallTracker

if TYPE_CHECKING:
    from aos_sdk.cus_enforcing.gate import CusGate

RAW_RESPONSE_HEADER: Final = "X-Stainless-Raw-Response"
# Requests that are calls. Other requests tell of calls, or begin sessions that cost by their time.
# A tuple: to look a member of an enumeration up in a set takes memory.
DECIDED: Final = (CusRole.CALL, CusRole.RESPONSE)


class CusProviderCall(CusCallTracker):
    """One call of a provider's method. Calls that the method makes in turn belong to it."""

    is_leaf = True
    is_settled = True
    is_of_unknown_client = False  # whether its client is of no package that the SDK knows

    # Replaces the base's slower `__init__`, because this takes the program's time. Python passes up
    # to four arguments to a class without allocating memory for them.
    def __init__(
        self,
        reporter: CusReporter,
        provider: str | None,
        surface: CusSurface,
        arguments: dict[str, Any],
    ) -> None:
        self.reporter = reporter
        self.provider = provider
        self.operation = surface.operation
        self.arguments = arguments
        model = arguments.get("model")
        self.model = model if type(model) is str else _plain(model)

    def fail(self, error: BaseException) -> None:
        """End the call with this exception. Without an answer, the provider may bill the prompt.

        If no request has left the program, there was no call: nothing is reported (ruling F8a).
        """
        if never_left(self, error):
            self.discard(error)
            return
        with self.reporter.guard:
            self.note_request_id(getattr(error, "request_id", None))
            self.note_project(getattr(error, "workspace_id", None))
            if self.usage is None and self._may_be_billed(error):
                self.set_local_count(count_call(self.arguments, "", self.model))
        super().fail(error)

    def _may_be_billed(self, error: BaseException) -> bool:
        return not self.is_late and self.operation in COUNTABLE and is_unanswered(error)

    def read_units(self, response: Any) -> None:
        """What the provider bills otherwise than by tokens, where no answer says the usage."""
        units = units_of(self.operation, self.model, self.arguments, response)
        if units is not None:
            self.set_usage(NO_USAGE, billed_units=units)


def prepare_call(
    surface: CusSurface,
    client: Any,
    kwargs: dict[str, Any],
    configuration: CusConfiguration,
    reporter: CusReporter,
    call_id: str | None = None,
    *,
    kind: type[CusProviderCall] = CusProviderCall,
) -> CusProviderCall | None:
    """The call that is about to be made, or None if it is a part of another call.

    The call's `arguments` are the arguments to send: `kwargs` themselves, or a copy that also asks
    a stream for its usage.
    """
    if is_part_of_a_call():
        return None
    called = called_by(client, surface.provider)
    call = kind(reporter, called.provider, surface, kwargs)
    call.origin = called.origin
    if not called.is_known_client:
        call.is_of_unknown_client = True
    if called.region_of_model is not None:
        call.origin = called.origin_of(call.model)
    if call_id:
        call.call_id, call.is_named = call_id, True
    identify(call, configuration)
    if configuration.enforcing is not None and surface.role in DECIDED:
        gate = gate_of(reporter, configuration)
        # Most calls meet no limit, and spend no memory on the gate.
        if gate is not None and (call.run is not None or not gate.is_open()):
            _put_before(call, gate, called)
    if surface.can_inject and kwargs.get("stream") and configuration.stream_usage == "inject":
        _ask_for_usage(call, client, kwargs)
    return call


def _put_before(call: CusProviderCall, gate: "CusGate", called: CusCalled) -> None:
    """Let the gate decide on the call. What most calls have not, their class says."""
    call.gate = gate
    if called.is_asynchronous:
        call.is_asynchronous = True
    if gate.decider.known.clamps:
        call.can_clamp = True


def gate_of(reporter: CusReporter, configuration: CusConfiguration) -> "CusGate | None":
    """The gate of a reporter's calls, enforced as the configuration says."""
    if reporter is configuration.reporter:
        return configuration.gate
    return reporter.gate(configuration.enforcing)


def is_part_of_a_call() -> bool:
    """Whether this code runs within a provider call that is measured as a whole."""
    outer: CusCallTracker | None = current_call()
    return outer is not None and outer.is_leaf and outer.latency_ms is None


def identify(call: CusProviderCall, configuration: CusConfiguration) -> None:
    """Set the session and the agent of the surrounding block, else of the configuration."""
    session_id, agent_id = configuration.session_id, configuration.agent_id
    tags = configuration.tags
    identity = current_identity()
    if identity is not None:
        session_id = session_id if identity.session_id is None else identity.session_id
        agent_id = agent_id if identity.agent_id is None else identity.agent_id
        tags = merged_tags(tags, identity.tags)
        if identity.run is not None:
            call.run = identity.run
        if identity.end_user is not None:
            call.end_user = identity.end_user
    if session_id is not None:
        call.session_id = session_id
    if agent_id is not None:
        call.agent_id = agent_id
    if tags is not None:
        call.tags = tags


def _plain(model: object) -> str:
    # A member of a program's enumeration of models is a text, but its `str()` may differ.
    return str.__str__(model) if isinstance(model, str) else ""


def is_raw(kwargs: Mapping[str, Any]) -> bool:
    """Whether the caller requests the raw response, to which we must add nothing."""
    headers = kwargs.get("extra_headers")
    return isinstance(headers, Mapping) and RAW_RESPONSE_HEADER in headers


def _ask_for_usage(call: CusProviderCall, client: Any, kwargs: dict[str, Any]) -> None:
    options, body = kwargs.get("stream_options"), kwargs.get("extra_body")
    options = options if isinstance(options, Mapping) else {}
    says = "include_usage" in options or (isinstance(body, Mapping) and "stream_options" in body)
    if says or is_raw(kwargs) or not _takes_stream_options(client):
        return
    call.arguments = {**kwargs, "stream_options": {**options, "include_usage": True}}
    call.hides_usage = True


def _takes_stream_options(client: Any) -> bool:
    provider = provider_of_host(client.base_url.host)
    if provider is None or provider.takes_stream_options is None:
        return False
    return provider.takes_stream_options(client)
