"""The periodic jobs: their tasks and times."""

from typing import Any

from celery.schedules import crontab


def _job(task: str, schedule: crontab | float, *, expires: int | None = None) -> dict[str, Any]:
    """An entry of beat. A run that waits in the queue for `expires` seconds is dropped, because
    the next run does its work.
    """
    options = {"options": {"expires": expires}} if expires else {}
    return {"task": task, "schedule": schedule, **options}


BEAT_SCHEDULE = {
    "cus-rollup-usage": _job("telemetry.tasks.cus_rollup_usage", 60.0, expires=55),
    # At an hour when few calls come in: a run reads five weeks of evidence.
    "cus-reconcile-usage": _job(
        "telemetry.tasks.cus_reconcile_usage", crontab(hour="2", minute="29")
    ),
    # The hour that runs is looked at too, so that a runaway program is seen within minutes.
    "cus-find-unusual-hours": _job(
        "telemetry.tasks.cus_find_unusual_hours", crontab(minute="*/5"), expires=280
    ),
    "cus-keep-forecasts": _job("telemetry.tasks.cus_keep_forecasts", crontab(minute="7")),
    "cus-refresh-coverage": _job("telemetry.tasks.cus_refresh_coverage", crontab(minute="*/5")),
    "cus-flag-unproven-claims": _job(
        "telemetry.tasks.cus_flag_unproven_claims", crontab(minute="23")
    ),
    "cus-fold-sequences": _job("telemetry.tasks.cus_fold_sequences", 60.0, expires=55),
    "cus-make-partitions": _job("telemetry.tasks.cus_make_partitions", crontab(minute="17")),
    # A day (UTC) is due from one in the morning on; a run also seals the days of missed runs.
    "cus-seal-evidence": _job("telemetry.tasks.cus_seal_evidence", crontab(minute="11")),
    # After the seals of the night.
    "cus-close-months": _job("telemetry.tasks.cus_close_months", crontab(hour="1", minute="41")),
    "cus-drop-old-months": _job(
        "telemetry.tasks.cus_drop_old_months", crontab(hour="4", minute="13")
    ),
    # Every `cus_health.schedule.ROUND_SECONDS`; the task looks up the due checks.
    "cus-health-checks": _job("integrations.tasks.cus_fan_out_health_checks", 15.0, expires=14),
    "cus-make-decision-partitions": _job(
        "enforcement.tasks.cus_make_decision_partitions", crontab(minute="19")
    ),
    # A hold counts until it is swept, at most 30 seconds after its end (ruling F5b).
    "cus-sweep-holds": _job("enforcement.tasks.cus_sweep_holds", 15.0, expires=14),
    "cus-sweep-late-holds": _job("enforcement.tasks.cus_sweep_late_holds", 60.0, expires=55),
    "cus-sweep-limits": _job("enforcement.tasks.cus_sweep_limits", crontab(minute="*/10")),
    "cus-take-in-decisions": _job("enforcement.tasks.cus_take_in_decisions", 60.0, expires=55),
    "cus-learn-from-calls": _job("enforcement.tasks.cus_learn_from_calls", 60.0, expires=55),
    "cus-announce-limits": _job("integrations.tasks.cus_announce_limits", 10.0, expires=9),
    "cus-send-mail": _job("integrations.tasks.cus_send_mail", 10.0, expires=9),
    # Covers the days that are over (UTC); a run also covers the days of missed runs.
    "cus-mail-token-digest": _job(
        "integrations.tasks.cus_mail_token_digest", crontab(hour="0", minute="37")
    ),
    "cus-forget-old-mails": _job("integrations.tasks.cus_forget_old_mails", crontab(minute="43")),
    # Twice within the window of a rate, so that a burst is seen.
    "cus-watch-limits": _job("telemetry.tasks.cus_watch_limits", 30.0, expires=28),
    "cus-watch-refusals": _job("enforcement.tasks.cus_watch_refusals", 30.0, expires=28),
    "cus-notify": _job("integrations.tasks.cus_fan_out_notifications", 10.0, expires=9),
    "cus-forget-old-notifications": _job(
        "integrations.tasks.cus_forget_old_notifications", crontab(minute="47")
    ),
    "cus-clear-sessions": _job(
        "integrations.tasks.cus_clear_sessions", crontab(hour="3", minute="41")
    ),
}
