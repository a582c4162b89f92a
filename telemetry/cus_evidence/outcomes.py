"""The part of the statement that stores calls which counts how the calls ended."""

from aos_sdk.cus_wire import CusReasonCode
from telemetry.cus_evidence.models import CusOutcomeTotals, CusUsageSums

OTHER = "other"
# The upper bounds of the latencies that are counted, in milliseconds, each included.
BOUNDS_MS = (*(100, 300, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000),)
# The error codes that are counted by themselves: a program may send any text, and a total must not
# grow with what programs invent. All others are `other`. The classes of the exceptions of openai,
# anthropic, botocore and httpx, which the SDK reports; words that programs without the SDK use; and the
# reasons of blocked calls.
ERROR_CODES = (
    *("APIConnectionError", "APIError", "APIResponseValidationError", "APIStatusError"),
    *("APITimeoutError", "AuthenticationError", "BadRequestError", "ConflictError"),
    *("ContentFilterFinishReasonError", "InternalServerError", "LengthFinishReasonError"),
    *("NotFoundError", "OverloadedError", "PermissionDeniedError", "RateLimitError"),
    *("RequestTooLargeError", "ServiceUnavailableError", "UnprocessableEntityError"),
    *("AccessDeniedException", "ClientError", "ModelErrorException", "ModelTimeoutException"),
    *("ServiceQuotaExceededException", "ThrottlingException", "ValidationException"),
    *("ConnectError", "ConnectTimeout", "ReadError", "ReadTimeout", "RemoteProtocolError"),
    *("CancelledError", "GeneratorExit", "KeyboardInterrupt", "TimeoutError"),
    *("authentication", "content_filter", "invalid_request", "overloaded", "rate_limit"),
    *("server_error", "timeout", "cus_throttled", "cus_hard_blocked"),
    *(code.value for code in CusReasonCode),
)

# Worked out once for a row, not for each bound: the latency of a call that ran.
_ROWS = f"""
    SELECT integration_id, policy_result,
        CASE WHEN policy_result <> 'blocked' THEN latency_ms END AS latency,
        CASE WHEN error_code IS NULL THEN ''
            WHEN error_code IN ({", ".join(f"'{code}'" for code in ERROR_CODES)}) THEN error_code
            ELSE '{OTHER}' END AS code
    FROM landed_calls
"""  # noqa: S608  (the names are this module's own)
_SUMS = {
    "calls": "count(*)",
    "latency_calls": "count(latency)",
    "latency_sum_ms": "coalesce(sum(latency), 0)",
    **{f"le_{bound}": f"count(*) FILTER (WHERE latency <= {bound})" for bound in BOUNDS_MS},
}
SUMS = tuple(_SUMS)
_KEY = "tenant_id, integration_id, policy_result, error_code, shard"
# Adds the rows of `landed_calls`, in the order of the key, so that two batches can't deadlock.
OUTCOMES = f"""
    INSERT INTO {CusOutcomeTotals._meta.db_table} AS total ({_KEY}, {", ".join(SUMS)})
    SELECT %(tenant)s, integration_id, policy_result, code,
        pg_backend_pid() %% {CusUsageSums.SHARDS}, {", ".join(_SUMS.values())}
    FROM ({_ROWS}) AS ended GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
    ON CONFLICT ({_KEY}) DO UPDATE SET
        {", ".join(f"{name} = total.{name} + excluded.{name}" for name in SUMS)}
"""  # noqa: S608
