"""What the requests of OpenAI's package cost, beside those in its provider's `paths`.

Of the pinned release, whose resources a test walks. Where the price of a request is not published,
the request is counted.
"""

from typing import Final

from aos_sdk.cus_providers.requests import CusCost, CusRequests, requests_of

_CAPTURED: Final = (
    *requests_of(
        CusCost.CAPTURED,
        "an assistant's run: of unknown usage, until whoever reads the finished run settles it",
        "/threads/{}/runs",
        "/threads/runs",
    ),
    *requests_of(
        CusCost.CAPTURED,
        "a video, billed by its seconds and size",
        "/videos",
        "/videos/edits",
        "/videos/extensions",
        "/videos/{}/remix",
    ),
    *requests_of(
        CusCost.CAPTURED,
        "a live session: of unknown usage, until its last event tells its seconds",
        "/live/sessions",
        "/live/sessions/{}/accept",
        "/live/sessions/{}/fork",
    ),
)
_COUNTED: Final = (
    *requests_of(
        CusCost.COUNTED,
        "an agent works at OpenAI, and its usage names no model",
        "/agents/sessions",
        "/agents/sessions/{}/events",
        "/agents/automations",
        "/agents/automations/{}/invocations",
        "/agents/automations/{}/resume",
    ),
    *requests_of(
        CusCost.COUNTED,
        "a machine at OpenAI, billed while it is there",
        "/agents/environments",
        "/containers",
    ),
    *requests_of(
        CusCost.COUNTED,
        "a session that a browser or a telephone has with OpenAI",
        "/chatkit/sessions",
        "/realtime/sessions",
        "/realtime/transcription_sessions",
        "/realtime/client_secrets",
        "/realtime/translations/client_secrets",
        "/realtime/calls",
        "/realtime/calls/{}/accept",
    ),
    *requests_of(
        CusCost.COUNTED,
        "models run for an evaluation, a training or a grader",
        "/evals/{}/runs",
        "/fine_tuning/jobs",
        "/fine_tuning/jobs/{}/resume",
        "/fine_tuning/alpha/graders/run",
    ),
    *requests_of(
        CusCost.COUNTED,
        "a store of vectors, billed by its size and its searches",
        "/vector_stores",
        "/vector_stores/{}/files",
        "/vector_stores/{}/file_batches",
        "/vector_stores/{}/search",
    ),
    *requests_of(
        CusCost.COUNTED,
        "work of a model whose price is not published",
        "/audio/voices",
        "/content_provenance_checks",
        "/videos/characters",
    ),
)
_FREE: Final = (
    *requests_of(
        CusCost.FREE,
        "a batch: its results are calls, captured when they are read",
        "/batches",
    ),
    *requests_of(
        CusCost.FREE,
        "goes on with a run that is a call already",
        "/threads/{}/runs/{}/submit_tool_outputs",
    ),
    *requests_of(
        CusCost.FREE,
        "ends or moves what is a call already",
        "/batches/{}/cancel",
        "/chatkit/sessions/{}/cancel",
        "/evals/{}/runs/{}/cancel",
        "/fine_tuning/jobs/{}/cancel",
        "/fine_tuning/jobs/{}/pause",
        "/agents/automations/{}/pause",
        "/responses/{}/cancel",
        "/threads/{}/runs/{}/cancel",
        "/vector_stores/{}/file_batches/{}/cancel",
        *(f"/realtime/calls/{{}}/{verb}" for verb in ("hangup", "refer", "reject")),
        *(f"/live/sessions/{{}}/{verb}" for verb in ("hangup", "refer", "reject")),
    ),
    *requests_of(
        CusCost.FREE,
        "OpenAI does not bill it",
        "/fine_tuning/alpha/graders/validate",
        "/fine_tuning/checkpoints/{}/permissions",
        "/moderations",
        "/responses/input_tokens",
    ),
    *requests_of(
        CusCost.FREE,
        "stores or changes an object, and no model works",
        *("/agents", "/agents/{}", "/agents/sessions/{}", "/agents/automations/{}"),
        *("/agents/environments/{}/files", "/agents/environments/templates"),
        *("/agents/environments/templates/{}", "/vaults/**", "/vaults", "/assistants"),
        *("/assistants/{}", "/threads", "/threads/{}", "/threads/{}/messages"),
        *("/threads/{}/messages/{}", "/threads/{}/runs/{}", "/chat/completions/{}"),
        *("/containers/{}/files", "/conversations", "/conversations/{}"),
        *("/conversations/{}/items", "/evals", "/evals/{}", "/files", "/uploads"),
        *("/uploads/{}/parts", "/uploads/{}/cancel", "/uploads/{}/complete"),
        *("/audio/voice_consents", "/audio/voice_consents/{}", "/skills", "/skills/{}"),
        *("/skills/{}/versions", "/vector_stores/{}", "/vector_stores/{}/files/{}"),
    ),
    *requests_of(
        CusCost.FREE,
        "manages an organization, its projects or its webhooks",
        *("/organization/**", "/projects/**", "/webhook_endpoints", "/webhook_endpoints/**"),
    ),
)
REQUESTS: Final[tuple[CusRequests, ...]] = (*_CAPTURED, *_COUNTED, *_FREE)
