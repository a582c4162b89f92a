"""What becomes known of a call: told by the program, or read from its provider's answer."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Self

from aos_sdk.cus_cost import CusTokenUsage
from aos_sdk.cus_counting.answer_fields import runs_on
from aos_sdk.cus_counting.estimates import CusLocalCount
from aos_sdk.cus_delivery.ended_call import CusEndedCall, CusOrigin
from aos_sdk.cus_enforcing.run_budget import CusRun
from aos_sdk.cus_reported_usage import CusReportedUsage
from aos_sdk.cus_scope import CusIdentity
from aos_sdk.cus_tags import merged_tags
from aos_sdk.cus_usage import extract_token_usage
from aos_sdk.cus_wire import TOKENS_COUNTED_BY, CusPolicyResult, answer_id

_NOTHING: Final[Mapping[str, Any]] = {}


class CusMeasuredCall(CusEndedCall):
    """A call whose facts are set while it runs. No method raises anything of its own."""

    run: CusRun | None = None  # the budget in code of its session
    looked_up = False  # whether a request within it told of calls that are reported by themselves

    def add_identity(self, other: "CusIdentity | CusMeasuredCall") -> None:
        """Take over whose the call is from a block or another call, as far as this says nothing.

        A budget in code is of its session: a call that names another session has none.
        """
        if other.run is not None and self.session_id in (None, other.session_id):
            self.run = other.run
        self.session_id = self.session_id or other.session_id
        self.agent_id = self.agent_id or other.agent_id
        if other.end_user is not None:
            self.end_user = self.end_user or other.end_user
        if other.tags is not None:
            self.tags = merged_tags(other.tags, self.tags)

    def set_tokens(self, tokens_in: int, tokens_out: int) -> Self:
        """Set the tokens that the provider counted; `set_usage` takes details."""
        self.usage = CusTokenUsage(tokens_in, tokens_out)
        return self

    def set_usage(
        self,
        usage: CusTokenUsage,
        service_tier: str | None = None,
        billed_units: Mapping[str, int] | None = None,
    ) -> Self:
        """Set all kinds of tokens that the provider counted, its service tier, and other billed
        units, e.g. `{"searches": 2}`.
        """
        self.usage = usage
        self.service_tier = service_tier
        self.billed_units = billed_units
        return self

    def set_usage_from_response(self, response: Any, provider: str | None = None) -> Self:
        """Read tokens, tier, model and ids from a provider's answer, if the answer has usage."""
        with self.reporter.guard:
            usage = extract_token_usage(response, provider or self.provider)
            if usage.reported and not self._is_told_apart(response):
                self.set_reported(usage)
                self.set_names_from(response)
        return self

    def read(self, response: Any) -> None:
        """Read the provider's answer to this call; the caller guards against errors."""
        usage = extract_token_usage(response, self.origin.dialect or self.provider)
        if not usage.reported:
            self.read_units(response)
        elif not self._is_told_apart(response):
            self.set_reported(usage)
        self.set_names_from(response)

    def _is_told_apart(self, response: Any) -> bool:
        """Whether the answer is that of a background call, which a request within has settled."""
        return self.looked_up and runs_on(response)

    def read_units(self, response: Any) -> None:
        """What an answer without usage says otherwise, where it is known what was asked for."""

    def set_reported(self, usage: CusReportedUsage) -> None:
        """Take over the usage that a response or a stream has reported."""
        self.usage = usage
        self.service_tier = usage.service_tier
        # Most calls have none of these, and keep the class' default: Python shares the names of an
        # object's values up to twenty or so, and asks for more memory beyond.
        if usage.billed_units is not self.billed_units:
            self.billed_units = usage.billed_units
        if usage.provider_cost_microcents is not self.provider_cost_microcents:
            self.provider_cost_microcents = usage.provider_cost_microcents
        if usage.turns is not self.turns:
            self.turns = usage.turns

    def set_local_count(self, count: CusLocalCount) -> None:
        """Set tokens counted here, as the provider reported none; the record marks them (T2, T3)."""
        self.usage = count.usage
        self.recount = count.recount
        self.set_metadata(tokens_estimated=True, **{TOKENS_COUNTED_BY: count.counted_by})

    def set_model(self, model: str) -> Self:
        """Set the model that answered. If another model was requested, both are reported."""
        if model != self.model:
            asked = self.model_requested or self.model
            self.model_requested = asked if asked != model else None
            self.model = model
        return self

    def set_names_from(self, response: Any) -> None:
        """Set model, response id and request id from a response, as far as it has them."""
        is_json = type(response) is dict
        fields = response if is_json else getattr(response, "__dict__", _NOTHING)
        model = fields.get("model") or (None if is_json else getattr(response, "model", None))
        if model and model != self.model and isinstance(model, str):
            self.set_model(model)
        response_id, request_id = fields.get("id"), fields.get("_request_id")
        if response_id and isinstance(response_id, str):
            self.response_id = answer_id(response_id)
        if request_id is not None:
            self.note_request_id(request_id)
        project = fields.get("_workspace_id")
        if project is not None:
            self.note_project(project)

    def note_request_id(self, request_id: object) -> None:
        """Set the provider's id of the request, if it is a text."""
        if request_id and isinstance(request_id, str):
            self.provider_request_id = request_id

    def note_project(self, project: object) -> None:
        """Set the provider's project as the answer names it, unless the client has named one."""
        if project and isinstance(project, str) and self.origin.provider_project is None:
            self.origin = _with_project(self.origin, project)

    def set_cost(self, cost_cents: int) -> Self:
        """Set a cost in cents that is more exact than the price table's."""
        self.cost_cents = cost_cents
        return self

    def set_error(self, code: str, message: str = "") -> Self:
        """Report the call as failed. Texts that look like keys are masked before they are sent."""
        self.error_code = code
        self.error_message = message
        return self

    def set_metadata(self, **metadata: Any) -> Self:
        """Add facts of your own, JSON values of 16 KiB in all; never prompts or completions."""
        self.metadata = {**(self.metadata or {}), **metadata}
        return self

    def set_policy_result(self, result: CusPolicyResult | str) -> Self:
        """`allowed`, `warned` or `blocked`; anything else is counted as a fault and ignored."""
        with self.reporter.guard:
            self.policy_result = CusPolicyResult(result)
        return self

    def take(self, inner: "CusMeasuredCall") -> None:
        """Take over the facts of the provider call within, which are more exact."""
        self.provider = inner.provider or self.provider
        self.operation = inner.operation or self.operation
        if inner.model:
            self.model, self.model_requested = inner.model, inner.model_requested
        self.stream = inner.stream
        self.origin = inner.origin
        self.response_id, self.provider_request_id = inner.response_id, inner.provider_request_id
        if inner.is_late:
            self.is_late = True
        if inner.reserved is not None:
            self.reserved = inner.reserved
        if inner.usage is not None or inner.is_late:
            self.usage, self.recount = inner.usage, inner.recount
            self.service_tier = inner.service_tier
            self.billed_units = inner.billed_units
            self.provider_cost_microcents = inner.provider_cost_microcents
            self.turns = inner.turns
        self.add_identity(inner)
        if inner.error_code is not None:
            self.error_code, self.error_message = inner.error_code, inner.error_message
        if inner.metadata is not None:
            self.metadata = {**inner.metadata, **(self.metadata or {})}


@lru_cache(maxsize=256)  # the calls of a program go to few places
def _with_project(origin: CusOrigin, project: str) -> CusOrigin:
    return origin._replace(provider_project=project)
