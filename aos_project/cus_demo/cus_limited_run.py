"""Calls against a budget that runs out in the middle: the SDK asks before each call."""

from collections.abc import Iterator
from dataclasses import dataclass

from aos_project.cus_demo.cus_local_provider import prompt_for
from aos_project.cus_demo.cus_replay import DELIVERY_SECONDS, MODEL
from aos_project.cus_demo.cus_trace import Trace
from aos_sdk import CusLimitExceeded, CusOpenAIProvider, cus_configure, cus_shutdown

CALLS = 40


@dataclass
class LimitedRun:
    """How many calls ran and how many were refused, with the text of the last refusal."""

    ran: int = 0
    refused: int = 0
    undelivered: int = 0
    last_refusal: str = ""

    def run(self, trace: Trace, *, key: str, base_url: str, provider_url: str) -> Iterator[int]:
        """Make calls of the trace one after another; yield the number of each."""
        reporter = cus_configure(key, base_url, enforce=True)
        provider = CusOpenAIProvider("sk-local-provider", reporter=reporter, base_url=provider_url)
        for number in range(min(CALLS, len(trace.calls))):
            self._call(provider, trace, number)
            # What a call cost is known to the server once it is reported.
            reporter.flush(DELIVERY_SECONDS)
            yield number
        provider.client.close()
        self.undelivered = cus_shutdown(DELIVERY_SECONDS)

    def _call(self, provider: CusOpenAIProvider, trace: Trace, number: int) -> None:
        call = trace.calls[number]
        try:
            provider.chat_completions_create(
                model=MODEL,
                max_tokens=max(call.tokens_out, 1),
                agent_id="demo",
                messages=[{"role": "user", "content": prompt_for(number, call.tokens_in)}],
            )
        except CusLimitExceeded as error:
            self.refused += 1
            self.last_refusal = str(error)
        else:
            self.ran += 1
