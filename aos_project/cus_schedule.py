"""The jobs that nobody asks for: what beat starts, and how often."""

from celery.schedules import crontab

# After a worker was away, a turn that came too late is dropped: the next one does its work.
_EACH_MINUTE = {"schedule": 60.0, "options": {"expires": 55}}

BEAT_SCHEDULE = {
    "cus-rollup-usage": {"task": "telemetry.tasks.cus_rollup_usage", **_EACH_MINUTE},
    "cus-refresh-coverage": {
        "task": "telemetry.tasks.cus_refresh_coverage",
        "schedule": crontab(minute="*/5"),
    },
    "cus-flag-unproven-claims": {
        "task": "telemetry.tasks.cus_flag_unproven_claims",
        "schedule": crontab(minute="23"),
    },
    "cus-fold-sequences": {"task": "telemetry.tasks.cus_fold_sequences", **_EACH_MINUTE},
    "cus-make-partitions": {
        "task": "telemetry.tasks.cus_make_partitions",
        "schedule": crontab(minute="17"),
    },
    # `cus_health.schedule.ROUND_SECONDS`; what is due, it looks up.
    "cus-health-checks": {
        "task": "integrations.tasks.cus_fan_out_health_checks",
        "schedule": 15.0,
        "options": {"expires": 14},
    },
    "cus-make-decision-partitions": {
        "task": "enforcement.tasks.cus_make_decision_partitions",
        "schedule": crontab(minute="19"),
    },
    # A hold counts until it is swept, at most 30 seconds after its end (ruling F5b).
    "cus-sweep-holds": {
        "task": "enforcement.tasks.cus_sweep_holds",
        "schedule": 15.0,
        "options": {"expires": 14},
    },
    "cus-sweep-late-holds": {"task": "enforcement.tasks.cus_sweep_late_holds", **_EACH_MINUTE},
    "cus-take-in-decisions": {"task": "enforcement.tasks.cus_take_in_decisions", **_EACH_MINUTE},
    "cus-send-mail": {
        "task": "integrations.tasks.cus_send_mail",
        "schedule": 10.0,
        "options": {"expires": 9},
    },
    # Of the days that are over (UTC); a run that was missed, the next one makes up for.
    "cus-mail-token-digest": {
        "task": "integrations.tasks.cus_mail_token_digest",
        "schedule": crontab(hour="0", minute="37"),
    },
    "cus-forget-old-mails": {
        "task": "integrations.tasks.cus_forget_old_mails",
        "schedule": crontab(minute="43"),
    },
    "cus-clear-sessions": {
        "task": "integrations.tasks.cus_clear_sessions",
        "schedule": crontab(hour="3", minute="41"),
    },
}
