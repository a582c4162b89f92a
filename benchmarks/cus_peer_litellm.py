"""Asks litellm's budget limiter whether calls may run. Runs in the peers' environment.

Orders on the command line: for how many seconds. Its spend is in this process' memory, its
fastest form. Then a hundred callers ask at once for what ten have room for.
"""

import asyncio
import json
import sys
import time

from litellm.caching.caching import DualCache
from litellm.router_strategy.budget_limiter import RouterBudgetLimiting
from litellm.types.utils import BudgetConfig

_CALLERS = 100
_ROOM = 10
_DEPLOYMENTS = [
    {
        "model_name": "gpt-4o",
        "litellm_params": {"model": "openai/gpt-4o"},
        "model_info": {"id": "one"},
    }
]


def _limiter(dollars: float) -> RouterBudgetLimiting:
    config = {"openai": BudgetConfig(budget_limit=dollars, time_period="30d")}
    return RouterBudgetLimiting(DualCache(), config)


async def _admits(limiter: RouterBudgetLimiting) -> bool:
    try:
        await limiter.async_filter_deployments("gpt-4o", _DEPLOYMENTS, None, {})
    except ValueError:
        return False
    return True


async def _call(limiter: RouterBudgetLimiting) -> bool:
    """Ask, run for a moment, and report a cost of a dollar."""
    if not await _admits(limiter):
        return False
    await asyncio.sleep(0.01)
    config = limiter._get_budget_config_for_provider("openai")  # noqa: SLF001  (there is no public way)
    assert config
    await limiter._increment_spend_for_key(  # noqa: SLF001  (there is no public way)
        budget_config=config,
        spend_key="provider_spend:openai:30d",
        start_time_key="provider_budget_start_time:openai",
        response_cost=1.0,
    )
    return True


async def main(seconds: float) -> None:
    limiter = _limiter(1e9)
    await _admits(limiter)  # what it imports at first is not what is measured
    latencies: list[float] = []
    started = ended = time.perf_counter()
    while ended - started < seconds:
        asked = time.perf_counter()
        assert await _admits(limiter)
        ended = time.perf_counter()
        latencies.append(ended - asked)
    racing = _limiter(float(_ROOM))
    let_in = await asyncio.gather(*(_call(racing) for _ in range(_CALLERS)))
    # After these calls no further call is admitted: the limiter does count.
    assert not await _admits(racing)
    answer = {"seconds": ended - started, "latencies": latencies, "let_in": sum(let_in)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
