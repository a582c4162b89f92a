"""Count the outcomes of calls that an earlier release stored while 0024 ran, and after.

Totals for life, which every release keeps, say of which integrations outcomes are lacking: of
nearly none, and then no row is read. Their rows are counted while nobody can store a call: ingest
waits for it, or answers 503 and its senders try again. Where retention dropped a month, rows can't
say what is lacking, and totals stay.
"""

from django.db import migrations

BOUNDS_MS = (100, 300, 500, 1000, 2000, 3000, 5000, 10000, 20000, 30000, 60000, 120000)
SUMS = ("calls", "latency_calls", "latency_sum_ms", *(f"le_{bound}" for bound in BOUNDS_MS))
WHOSE = ("tenant_id", "integration_id", "policy_result", "error_code")
CODES = (
    "APIConnectionError", "APIError", "APIResponseValidationError", "APIStatusError",
    "APITimeoutError", "AuthenticationError", "BadRequestError", "ConflictError",
    "ContentFilterFinishReasonError", "InternalServerError", "LengthFinishReasonError",
    "NotFoundError", "OverloadedError", "PermissionDeniedError", "RateLimitError",
    "RequestTooLargeError", "ServiceUnavailableError", "UnprocessableEntityError",
    "AccessDeniedException", "ClientError", "ModelErrorException", "ModelTimeoutException",
    "ServiceQuotaExceededException", "ThrottlingException", "ValidationException", "ConnectError",
    "ConnectTimeout", "ReadError", "ReadTimeout", "RemoteProtocolError", "CancelledError",
    "GeneratorExit", "KeyboardInterrupt", "TimeoutError", "authentication", "content_filter",
    "invalid_request", "overloaded", "rate_limit", "server_error", "timeout",
    "cus_throttled", "cus_hard_blocked",
    "integration_not_found", "integration_not_enabled", "integration_disabled",
    "integration_error", "credentials_invalid", "state_unknown", "budget_exceeded",
    "token_limit_exceeded", "rate_limit_exceeded", "estimate_exceeds_room", "model_unpriced",
    "call_recorded", "contention", "stopped", "budget_warning", "token_warning", "evidence_unavailable",
    "all_checks_passed", "session_limit_exceeded", "agent_limit_exceeded",
    "end_user_limit_exceeded", "tag_limit_exceeded",
)  # fmt: skip
RAN = "policy_result <> 'blocked'"
OF_ROWS = {
    "calls": "count(*)",
    "latency_calls": f"count(*) FILTER (WHERE {RAN} AND latency_ms IS NOT NULL)",
    "latency_sum_ms": f"coalesce(sum(latency_ms) FILTER (WHERE {RAN}), 0)",
    **{
        f"le_{bound}": f"count(*) FILTER (WHERE {RAN} AND latency_ms <= {bound})"
        for bound in BOUNDS_MS
    },
}
# Both totals are kept in the transaction of the call, so a statement sees both or none.
LACKING = """
SELECT tenant_id, integration_id FROM (
    SELECT tenant_id, integration_id, sum(calls + blocked) AS calls FROM cus_lifetime_totals
    GROUP BY 1, 2
) AS life LEFT JOIN (
    SELECT tenant_id, integration_id, sum(calls) AS counted FROM cus_outcome_totals GROUP BY 1, 2
) AS ended USING (tenant_id, integration_id)
WHERE calls > coalesce(counted, 0) AND NOT EXISTS (SELECT FROM cus_dropped_months)
"""
ADD = f"""
WITH lacking AS MATERIALIZED ({LACKING}), stored AS (
    SELECT tenant_id, integration_id, policy_result,
        CASE WHEN error_code IS NULL THEN ''
            WHEN error_code IN ({", ".join(f"'{code}'" for code in CODES)}) THEN error_code
            ELSE 'other' END AS error_code,
        {", ".join(f"{value} AS {name}" for name, value in OF_ROWS.items())}
    FROM cus_llm_usage JOIN lacking USING (tenant_id, integration_id) GROUP BY 1, 2, 3, 4
), counted AS (
    SELECT {", ".join(WHOSE)}, {", ".join(f"sum({name}) AS {name}" for name in SUMS)}
    FROM cus_outcome_totals JOIN lacking USING (tenant_id, integration_id) GROUP BY 1, 2, 3, 4
)
INSERT INTO cus_outcome_totals AS total ({", ".join(WHOSE)}, shard, {", ".join(SUMS)})
SELECT {", ".join(WHOSE)}, 0,
    {", ".join(f"greatest(stored.{name} - coalesce(counted.{name}, 0), 0)" for name in SUMS)}
FROM stored LEFT JOIN counted USING ({", ".join(WHOSE)})
ON CONFLICT ({", ".join(WHOSE)}, shard) DO UPDATE
    SET {", ".join(f"{name} = total.{name} + excluded.{name}" for name in SUMS)}
"""


def mend(_apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(LACKING)
        if cursor.fetchall():
            # Whoever stores a call adds to this table, so nobody does until the commit.
            cursor.execute("LOCK TABLE cus_outcome_totals IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute(ADD)


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0030_cus_sums")]

    operations = [migrations.RunPython(mend, migrations.RunPython.noop)]
