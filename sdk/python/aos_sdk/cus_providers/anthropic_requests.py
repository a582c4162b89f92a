"""What the requests of Anthropic's package cost, beside those in its provider's `paths`.

Of the pinned release, whose resources a test walks. Where the price of a request is not published,
the request is counted.
"""

from typing import Final

from aos_sdk.cus_providers.requests import CusCost, CusRequests, requests_of

_COUNTED: Final = (
    *requests_of(
        CusCost.COUNTED,
        "an agent works at Anthropic, billed by its tokens and its time",
        "/sessions",
        "/sessions/{}/events",
        "/deployments",
        "/deployments/{}/run",
        "/deployments/{}/unpause",
    ),
    *requests_of(
        CusCost.COUNTED, "a dream reads and writes an agent's memory with a model", "/dreams"
    ),
)
_FREE: Final = (
    *requests_of(
        CusCost.FREE,
        "a batch: its results are calls, captured when they are read",
        "/messages/batches",
    ),
    *requests_of(
        CusCost.FREE,
        "ends or puts away what is counted already",
        "/deployments/{}/archive",
        "/deployments/{}/pause",
        "/dreams/{}/archive",
        "/dreams/{}/cancel",
        "/messages/batches/{}/cancel",
        "/sessions/{}/archive",
        "/sessions/{}/threads/{}/archive",
    ),
    *requests_of(CusCost.FREE, "Anthropic does not bill it", "/messages/count_tokens"),
    *requests_of(
        CusCost.FREE,
        "tells Anthropic how the program's own machine works for an agent",
        *(f"/environments/{{}}/work/{{}}/{verb}" for verb in ("ack", "heartbeat", "stop")),
        "/environments/{}/work/{}",
    ),
    *requests_of(
        CusCost.FREE,
        "stores or changes an object, and no model works",
        *("/agents", "/agents/{}", "/agents/{}/archive", "/deployments/{}"),
        *("/environments", "/environments/{}", "/environments/{}/archive", "/files"),
        *("/memory_stores", "/memory_stores/**", "/sessions/{}", "/sessions/{}/resources"),
        *("/sessions/{}/resources/{}", "/skills", "/skills/{}/versions"),
        *("/tunnels", "/tunnels/**", "/user_profiles", "/user_profiles/**"),
        *("/vaults", "/vaults/**"),
    ),
    *requests_of(CusCost.FREE, "manages an organization", "/organizations/**"),
)
REQUESTS: Final[tuple[CusRequests, ...]] = (*_COUNTED, *_FREE)
