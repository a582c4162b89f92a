"""Settings of AOS Customer Integrations, all from the environment.

Precedence: the process environment, then `.env`, then `.data/local.env`, which
`make run` writes for a machine where nothing is configured.

`CUS_MODE` is `production` (the default: https only, every secret must be given) or
`local` (loopback over plain http, as `make run` serves it).
"""

import logging
from pathlib import Path
from typing import Any

import environ
import structlog
from celery.schedules import crontab
from csp.constants import SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
DATA_DIR = Path(env("CUS_DATA_DIR", default=str(BASE_DIR / ".data")))
environ.Env.read_env(env("CUS_ENV_FILE", default=str(BASE_DIR / ".env")))
environ.Env.read_env(DATA_DIR / "local.env")


def _required(name: str, hint: str) -> str:
    """The value of an environment variable that has no safe default."""
    value: str = env(name, default="")
    if not value:
        msg = f"{name} is not set. {hint}"
        raise ImproperlyConfigured(msg)
    return value


MODE = env("CUS_MODE", default="production")
if MODE not in ("production", "local"):
    msg = f"CUS_MODE is {MODE!r}; it must be 'production' or 'local'."
    raise ImproperlyConfigured(msg)
LOCAL = MODE == "local"

_RUN_HINT = "Start everything with `make run`, or set it (see .env.example)."
SECRET_KEY = _required("SECRET_KEY", _RUN_HINT)
DEBUG = env.bool("DEBUG", default=False)
if DEBUG and not LOCAL:
    msg = "DEBUG is on in production: tracebacks would show secrets. Unset DEBUG, or set CUS_MODE=local."
    raise ImproperlyConfigured(msg)

# --- What the product itself is configured with -------------------------------------------------

# Ruling C2: `id:base64 of 32 bytes`, comma-separated. The first encrypts, all decrypt.
CUS_CREDENTIAL_KEYS = _required("CUS_CREDENTIAL_KEYS", _RUN_HINT)
# Keys the hash under which SDK keys are stored: a stolen table alone verifies nothing.
CUS_KEY_HASH_SECRET = _required("CUS_KEY_HASH_SECRET", _RUN_HINT)
# Facts older than this when they arrive keep their money but not their time (ruling E3).
CUS_TELEMETRY_MAX_AGE_DAYS = env.int("CUS_TELEMETRY_MAX_AGE_DAYS", default=35)
# Ruling C6: a provider's address may be http, such as for a model server in one's own network.
CUS_ALLOW_HTTP_PROVIDERS = env.bool("CUS_ALLOW_HTTP_PROVIDERS", default=False)
# /metrics answers to this bearer token, or to an address in these networks.
CUS_METRICS_TOKEN = env("CUS_METRICS_TOKEN", default="")
CUS_METRICS_NETWORKS = env.list(
    "CUS_METRICS_NETWORKS", default=["127.0.0.0/8", "::1/128"] if LOCAL else []
)
CUS_PARTITIONS_AHEAD_MONTHS = 3
# Connections that each process keeps for SDK routes; 0: each thread's own one does.
CUS_EVIDENCE_POOL_SIZE = env.int("CUS_EVIDENCE_POOL_SIZE", default=4)
# Requests a second of one SDK key in each process before it is told to wait; 0: any number.
CUS_SDK_REQUESTS_PER_SECOND = env.int("CUS_SDK_REQUESTS_PER_SECOND", default=500)
# The role that enforcement decides as (ruling E5): it cannot read analytics.
CUS_DECIDER_ROLE = env("CUS_DECIDER_ROLE", default="cus_decider")

# --- Applications -------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "drf_standardized_errors",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "django_structlog",
    "django_celery_beat",
    "integrations",
    "telemetry",
    "enforcement",
    "aos_project",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    # An SDK's request goes no further down this list.
    "integrations.cus_sdk_routes.CusSdkRoutes",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "aos_project.urls"
WSGI_APPLICATION = "aos_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database: two logins of one PostgreSQL (ruling E5) -----------------------------------------

_DATABASE_URL = _required(
    "DATABASE_URL", "Start everything with `make run`, or point it at a PostgreSQL ≥ 15."
)
_OWNER_URL = env("DATABASE_OWNER_URL", default=_DATABASE_URL)


def _database(url: str) -> dict[str, object]:
    config: dict[str, object] = env.db_url_config(url)
    if config.get("ENGINE") != "django.db.backends.postgresql":
        msg = "DATABASE_URL must be a postgres:// address: evidence needs PostgreSQL's triggers and partitions."
        raise ImproperlyConfigured(msg)
    # An acknowledged event is on disk whatever the server's own default says.
    durable = "-c synchronous_commit=on -c idle_in_transaction_session_timeout=30s"
    config["OPTIONS"] = {
        **dict(config.get("OPTIONS") or {}),  # type: ignore[call-overload]
        "options": f"{durable} -c statement_timeout={env('CUS_STATEMENT_TIMEOUT', default='30s')}",
        "connect_timeout": 5,
        "application_name": "aos-customer-integrations",
    }
    config["CONN_MAX_AGE"] = 600
    config["CONN_HEALTH_CHECKS"] = True
    return config


# `default` is what the product runs as; `owner` migrates, makes partitions and retains.
DATABASES = {"default": _database(_DATABASE_URL), "owner": _database(_OWNER_URL)}
DATABASES["owner"]["CONN_MAX_AGE"] = 0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "integrations.CusUser"

# --- Mail: invitations, and links to set a password with ---------------------------------------

# Locally a mail is printed by the web process.
vars().update(env.email_url("EMAIL_URL", default="consolemail://" if LOCAL else "smtp://127.0.0.1"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env("DEFAULT_FROM_EMAIL", default="aos@localhost")

# --- Web ----------------------------------------------------------------------------------------

ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"] if LOCAL else []
)
# What links in mails begin with: a request's own Host header is the sender's to choose.
CUS_PUBLIC_URL = env(
    "CUS_PUBLIC_URL",
    default="http://127.0.0.1:8000" if LOCAL else f"https://{(ALLOWED_HOSTS or ['localhost'])[0]}",
).rstrip("/")
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = not LOCAL
# Probes come from inside the cluster, without TLS.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 0 if LOCAL else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not LOCAL
if env.bool("CUS_BEHIND_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024 + 65_536

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        # The admin theme's Alpine.js evaluates expressions and styles elements inline.
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "object-src": ["'none'"],
        "frame-ancestors": ["'none'"],
        "base-uri": [SELF],
        "form-action": [SELF],
    },
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
STATIC_URL = "static/"
# Locally whitenoise serves the packages' own files; production collects them first.
STATIC_ROOT = None if LOCAL else BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = LOCAL
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- API ----------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "aos_project.cus_schema.CusAutoSchema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "aos_project.cus_exceptions.CusExceptionHandler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "AOS Customer Integrations",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # From our own files: no browser of ours asks somebody else's server.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- Jobs ---------------------------------------------------------------------------------------

REDIS_URL = _required("REDIS_URL", "Start everything with `make run`, or point it at a Redis.")
# Celery names a Redis behind a private socket, and its database, in words of its own.
CELERY_BROKER_URL = (
    REDIS_URL.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
    if REDIS_URL.startswith("unix://")
    else REDIS_URL
)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 600
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    "cus-rollup-usage": {
        "task": "telemetry.tasks.cus_rollup_usage",
        "schedule": 60.0,
        "options": {"expires": 55},
    },
    "cus-refresh-coverage": {
        "task": "telemetry.tasks.cus_refresh_coverage",
        "schedule": crontab(minute="*/5"),
    },
    "cus-fold-sequences": {
        "task": "telemetry.tasks.cus_fold_sequences",
        "schedule": 60.0,
        "options": {"expires": 55},
    },
    "cus-make-partitions": {
        "task": "telemetry.tasks.cus_make_partitions",
        "schedule": crontab(minute="17"),
    },
}

# --- Logs ---------------------------------------------------------------------------------------

_SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
# Tracebacks name places, never the values there: those may be keys or a customer's data.
_RENDERERS: list[Any] = (
    [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    if LOCAL
    else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
)
structlog.configure(
    processors=[
        *_SHARED_PROCESSORS,
        structlog.processors.StackInfoRenderer(),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _SHARED_PROCESSORS,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_RENDERERS,
            ],
        },
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO")},
    "loggers": {
        # What a client did wrong is in the answer that it got.
        "django.request": {"level": "ERROR"},
        "httpx2": {"level": "WARNING"},
        # One line a request is the proxy's business; ours would be a line an SDK batch.
        "django_structlog.middlewares.request": {"level": "WARNING"},
    },
}

# --- Console ------------------------------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": "AOS Customer Integrations",
    "SITE_HEADER": "AOS Customer Integrations",
    "SITE_SUBHEADER": "Keys, evidence and limits of your LLM providers",
    "SITE_SYMBOL": "hub",
    "SHOW_HISTORY": False,
}
