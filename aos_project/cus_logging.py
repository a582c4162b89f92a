"""Log lines, locally for people and in production as JSON, with secrets masked."""

from typing import Any

import structlog

from integrations.cus_web.redaction import redact_event, redact_line

_SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# Tracebacks name lines, never the values of variables, which may be keys or a customer's data.
# Every line is masked before it is written.
_FOR_PEOPLE: list[Any] = [
    structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    redact_line,
]
_AS_JSON: list[Any] = [
    structlog.processors.format_exc_info,
    redact_event,
    structlog.processors.JSONRenderer(),
]


def configure_structlog() -> None:
    """Send structlog's events through the standard library's logging, like Django's lines."""
    structlog.configure(
        processors=[
            *_SHARED_PROCESSORS,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def logging_settings(level: str, *, for_people: bool) -> dict[str, Any]:
    """Django's LOGGING: every logger's lines, from `level` on, through one masking handler."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED_PROCESSORS,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *(_FOR_PEOPLE if for_people else _AS_JSON),
                ],
            },
        },
        "filters": {"redact": {"()": "integrations.cus_web.redaction.RedactingFilter"}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["redact"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # Without Django's own handlers, which mask nothing.
            "django": {"handlers": [], "level": "INFO"},
            # A client's mistake is in the client's answer, so the log need not have it.
            "django.request": {"level": "ERROR"},
            "httpx2": {"level": "WARNING"},
            # axes logs four lines for each sign-in; only failures matter.
            "axes": {"level": "WARNING"},
            # Celery logs two lines for each job; jobs log their own results.
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            # The proxy logs each request; ours would be a line for each batch of an SDK.
            "django_structlog.middlewares.request": {"level": "WARNING"},
        },
    }
