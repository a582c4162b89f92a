"""Count the runs of jobs."""

from django.db import connection

_COUNT = """
INSERT INTO cus_job_totals AS job
    (name, succeeded, failed, seconds, last_seconds, last_succeeded_at, last_failed_at)
VALUES (%(name)s, %(good)s::int, (NOT %(good)s)::int, %(seconds)s, %(seconds)s,
    CASE WHEN %(good)s THEN now() END, CASE WHEN NOT %(good)s THEN now() END)
ON CONFLICT (name) DO UPDATE SET
    succeeded = job.succeeded + excluded.succeeded,
    failed = job.failed + excluded.failed,
    seconds = job.seconds + excluded.seconds,
    last_seconds = excluded.last_seconds,
    last_succeeded_at = coalesce(excluded.last_succeeded_at, job.last_succeeded_at),
    last_failed_at = coalesce(excluded.last_failed_at, job.last_failed_at)
"""


def count_run(name: str, *, succeeded: bool, seconds: float) -> None:
    """Add a run of a job. Raises DatabaseError."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"name": name, "good": succeeded, "seconds": seconds})
