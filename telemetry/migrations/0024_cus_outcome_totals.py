"""How calls ended, summed for life: outcomes, error codes and latencies."""

from django.db import migrations, models
from django.db.models import Q

BOUNDS_MS = (100, 300, 500, 1000, 2000, 3000, 5000, 10000, 20000, 30000, 60000, 120000)
SUMS = ("calls", "latency_calls", "latency_sum_ms", *(f"le_{bound}" for bound in BOUNDS_MS))
KEY = ("tenant_id", "integration_id", "policy_result", "error_code", "shard")
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
REFUSE = """RAISE EXCEPTION 'sums of % only grow, and stay where they are', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'Correct a fact by adding another one.';"""
FALLS = " OR ".join(f"NEW.{name} < OLD.{name}" for name in SUMS)
LOWEST = ", ".join(f"NEW.{name}" for name in SUMS)
OLD, NEW = (", ".join(f"{row}.{name}" for name in KEY) for row in ("OLD", "NEW"))
# Functions and not WHEN, whose text PostgreSQL reads anew for each statement.
GUARDS = f"""
ALTER TABLE cus_outcome_totals SET (fillfactor = 30);
CREATE FUNCTION cus_outcome_totals_no_fall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {FALLS} OR ({OLD}) IS DISTINCT FROM ({NEW}) THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION cus_outcome_totals_no_start_below() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF LEAST({LOWEST}) < 0 THEN {REFUSE} END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cus_no_fall BEFORE UPDATE ON cus_outcome_totals
    FOR EACH ROW EXECUTE FUNCTION cus_outcome_totals_no_fall();
CREATE TRIGGER cus_no_start_below BEFORE INSERT ON cus_outcome_totals
    FOR EACH ROW EXECUTE FUNCTION cus_outcome_totals_no_start_below();
CREATE TRIGGER cus_no_end BEFORE DELETE OR TRUNCATE ON cus_outcome_totals
    FOR EACH STATEMENT EXECUTE FUNCTION cus_refuse_fall();
"""
BACK = """
DROP FUNCTION cus_outcome_totals_no_fall() CASCADE;
DROP FUNCTION cus_outcome_totals_no_start_below() CASCADE;
DROP TRIGGER cus_no_end ON cus_outcome_totals;
"""
RAN = "policy_result <> 'blocked'"
LE = ", ".join(f"count(*) FILTER (WHERE {RAN} AND latency_ms <= {bound})" for bound in BOUNDS_MS)
# The rows of earlier releases. Where retention dropped rows, totals for life begin without them.
FILL = f"""
SET LOCAL statement_timeout = 0;
INSERT INTO cus_outcome_totals ({", ".join(KEY)}, {", ".join(SUMS)})
SELECT tenant_id, integration_id, policy_result,
    CASE WHEN error_code IS NULL THEN '' WHEN error_code IN ({", ".join(f"'{c}'" for c in CODES)})
        THEN error_code ELSE 'other' END,
    0, count(*), count(*) FILTER (WHERE {RAN} AND latency_ms IS NOT NULL),
    coalesce(sum(latency_ms) FILTER (WHERE {RAN}), 0), {LE}
FROM cus_llm_usage GROUP BY 1, 2, 3, 4;
"""


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0023_cus_hourly_costs")]

    operations = [
        migrations.CreateModel(
            name="CusOutcomeTotals",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        *KEY, blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("tenant_id", models.UUIDField()),
                ("integration_id", models.UUIDField()),
                ("policy_result", models.CharField(max_length=20)),
                ("error_code", models.CharField(max_length=50)),
                ("shard", models.SmallIntegerField()),
                *((name, models.BigIntegerField(db_default=0)) for name in SUMS),
            ],
            options={
                "db_table": "cus_outcome_totals",
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(("shard__gte", 0), ("shard__lt", 8)),
                        name="cus_outcome_totals_shard",
                    )
                ],
            },
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(GUARDS, BACK),
    ]
