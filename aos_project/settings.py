"""Settings of AOS Customer Integrations, from the environment (`cus_environment`); those that the
environment does not change are in `cus_settings`.

`CUS_MODE` is `production` (the default: https only, every secret must be given) or
`local` (loopback over plain http, as `make run` serves it).
"""

import gc
import logging
import os
from datetime import timedelta
from tempfile import gettempdir

from django.core.exceptions import ImproperlyConfigured

from aos_project.cus_environment import BASE_DIR, DATA_DIR, LOCAL, database, env, secret
from aos_project.cus_logging import configure_structlog, logging_settings
from aos_project.cus_schedule import BEAT_SCHEDULE
from aos_project.cus_secrets import refuse_weak_secrets
from aos_project.cus_settings.api import DRF_STANDARDIZED_ERRORS as DRF_STANDARDIZED_ERRORS
from aos_project.cus_settings.api import KNOX_TOKEN_MODEL as KNOX_TOKEN_MODEL
from aos_project.cus_settings.api import REST_FRAMEWORK as REST_FRAMEWORK
from aos_project.cus_settings.api import REST_KNOX as REST_KNOX
from aos_project.cus_settings.console import CONTENT_SECURITY_POLICY as CONTENT_SECURITY_POLICY
from aos_project.cus_settings.console import CUS_CONSOLE_POLICY as CUS_CONSOLE_POLICY
from aos_project.cus_settings.console import UNFOLD as UNFOLD
from aos_project.cus_settings.passwords import AUTH_PASSWORD_VALIDATORS as AUTH_PASSWORD_VALIDATORS
from aos_project.cus_settings.passwords import PASSWORD_HASHERS as PASSWORD_HASHERS

# Loading leaves no garbage, and looking for it took a fifth of each process' start.
# `AosProjectConfig.ready` goes on with it.
gc.disable()

_RUN_HINT = "Start everything with `make run`, or set it (see .env.example)."
SECRET_KEY = secret("SECRET_KEY", _RUN_HINT)
DEBUG = env.bool("DEBUG", default=False)
if DEBUG and not LOCAL:
    msg = "DEBUG is on in production: tracebacks would show secrets. Unset DEBUG, or set CUS_MODE=local."
    raise ImproperlyConfigured(msg)

# --- What the product itself is configured with -------------------------------------------------

# Ruling C2: `id:base64 of 32 bytes`, by commas or lines. The first encrypts, all decrypt.
CUS_CREDENTIAL_KEYS = secret("CUS_CREDENTIAL_KEYS", _RUN_HINT)
# Keys the hash under which SDK keys are stored: a stolen table alone verifies nothing.
CUS_KEY_HASH_SECRET = secret("CUS_KEY_HASH_SECRET", _RUN_HINT)
# Keys the seals of evidence: who changes a row cannot make its seal. Several secrets by commas or
# lines: the first seals, all verify.
CUS_SEAL_SECRET = secret("CUS_SEAL_SECRET", _RUN_HINT)
# Credentials in HashiCorp Vault (ruling C1): KV version 2, below a path of each tenant's own.
CUS_VAULT_ADDRESS = env("CUS_VAULT_ADDRESS", default="")
CUS_VAULT_TOKEN = env("CUS_VAULT_TOKEN", default="")
# Read at each use, not at the start: Vault's agent renews the token in this file.
CUS_VAULT_TOKEN_FILE = env("CUS_VAULT_TOKEN_FILE", default="")
CUS_VAULT_NAMESPACE = env("CUS_VAULT_NAMESPACE", default="")
CUS_VAULT_MOUNT = env("CUS_VAULT_MOUNT", default="secret")
CUS_VAULT_PATH = env("CUS_VAULT_PATH", default="cus/{tenant_id}/")
# The authorities that Vault's certificate is checked by; empty: those that this machine trusts.
CUS_VAULT_CA_FILE = env("CUS_VAULT_CA_FILE", default="")
CUS_VAULT_TIMEOUT_SECONDS = env.float("CUS_VAULT_TIMEOUT_SECONDS", default=3.0)
# Facts older than this when they arrive keep their money but not their time (ruling E3).
CUS_TELEMETRY_MAX_AGE_DAYS = env.int("CUS_TELEMETRY_MAX_AGE_DAYS", default=35)
# Usage rows of so many whole months are kept (at least 3), then dropped (ruling E5). 0: all are kept.
CUS_RETENTION_MONTHS = env.int("CUS_RETENTION_MONTHS", default=0)
# An hour that costs less is never reported as unusual, whatever is usual. 0: no floor.
CUS_ANOMALY_FLOOR_CENTS = env.int("CUS_ANOMALY_FLOOR_CENTS", default=100)
# Whether usage records have pseudonyms in place of the names of end users.
CUS_HASH_END_USERS = env.bool("CUS_HASH_END_USERS", default=False)
# Ruling C6: a provider's address may be http, such as for a model server in one's own network.
CUS_ALLOW_HTTP_PROVIDERS = env.bool("CUS_ALLOW_HTTP_PROVIDERS", default=False)
# /metrics answers to this bearer token, or to an address in these networks.
CUS_METRICS_TOKEN = secret("CUS_METRICS_TOKEN", default="")
CUS_METRICS_NETWORKS = env.list(
    "CUS_METRICS_NETWORKS", default=["127.0.0.0/8", "::1/128"] if LOCAL else []
)
# Models of an integration, and of all integrations, that have series of their own at /metrics; the
# others of an integration share one. A model keeps its series when these are lowered.
CUS_METRICS_MODELS = env.int("CUS_METRICS_MODELS", default=20)
CUS_METRICS_MODELS_IN_ALL = env.int("CUS_METRICS_MODELS_IN_ALL", default=5_000)
# Limits at scopes that have series of their own, the oldest first.
CUS_METRICS_LIMITS_IN_ALL = env.int("CUS_METRICS_LIMITS_IN_ALL", default=2_000)
CUS_PARTITIONS_AHEAD_MONTHS = 3
# Connections that each process keeps for SDK routes; 0: each thread's own one does.
CUS_EVIDENCE_POOL_SIZE = env.int("CUS_EVIDENCE_POOL_SIZE", default=6)
# Connections that each process keeps for checks, which decide as a role of their own.
CUS_ENFORCEMENT_POOL_SIZE = env.int("CUS_ENFORCEMENT_POOL_SIZE", default=6)
# Requests a second of one SDK key in each process before it gets 429; 0 means unlimited.
CUS_SDK_REQUESTS_PER_SECOND = env.int("CUS_SDK_REQUESTS_PER_SECOND", default=500)
# Checks a second of one integration in each process before it is throttled; 0 means unlimited.
CUS_CHECKS_PER_SECOND = env.int("CUS_CHECKS_PER_SECOND", default=500)
# Requests with checks of one integration that a process works on at a time while others ask too:
# one is decided, the rest are the line. Fewer than the process' threads; 0: any number.
CUS_CHECK_REQUESTS_AT_ONCE = env.int("CUS_CHECK_REQUESTS_AT_ONCE", default=4)
# What was held or lent for a call counts so long without a word of the call (ruling F5). Programs
# renew holds every few minutes, so less than ten minutes is for trials.
CUS_HOLD_LIFE_SECONDS = env.int("CUS_HOLD_LIFE_SECONDS", default=900)
# Seconds between an integration's health checks; 0: only those that people ask for.
CUS_HEALTH_CHECK_SECONDS = env.int("CUS_HEALTH_CHECK_SECONDS", default=300)
# A provider that takes longer to answer is degraded.
CUS_HEALTH_SLOW_MS = env.int("CUS_HEALTH_SLOW_MS", default=3_000)
# Private hosts that health checks may call all the same: `host` or `host:port`, exactly (C6).
CUS_ALLOWED_PRIVATE_HOSTS = env.list("CUS_ALLOWED_PRIVATE_HOSTS", default=[])
# Certificates to trust for providers, in place of the public ones: a file in PEM.
CUS_PROVIDER_CA_FILE = env("CUS_PROVIDER_CA_FILE", default="")
# Webhooks have settings of their own: what a provider's address may be, a receiver's need not.
CUS_ALLOW_HTTP_WEBHOOKS = env.bool("CUS_ALLOW_HTTP_WEBHOOKS", default=False)
# Private hosts that webhooks may be sent to: `host` or `host:port`, exactly (C6).
CUS_WEBHOOK_PRIVATE_HOSTS = env.list("CUS_WEBHOOK_PRIVATE_HOSTS", default=[])
# Certificates to trust for receivers of webhooks, in place of the public ones: a file in PEM.
CUS_WEBHOOK_CA_FILE = env("CUS_WEBHOOK_CA_FILE", default="")
# Events that one tenant is told of within a day, beside stops and invalid credentials; 0: any number.
CUS_NOTIFICATIONS_A_DAY = env.int("CUS_NOTIFICATIONS_A_DAY", default=1_000)
# The role that enforcement decides as (ruling E5): it cannot read analytics.
CUS_DECIDER_ROLE = env("CUS_DECIDER_ROLE", default="cus_decider")
# One proxy before us ends TLS; it sets X-Forwarded-Proto and appends to X-Forwarded-For.
CUS_BEHIND_PROXY = env.bool("CUS_BEHIND_PROXY", default=False)
# Whether all people must show a second factor when they sign in.
CUS_REQUIRE_TOTP = env.bool("CUS_REQUIRE_TOTP", default=not LOCAL)
# How many wrong passwords close the login for a person at an address, and for how long.
CUS_LOGIN_ATTEMPTS = env.int("CUS_LOGIN_ATTEMPTS", default=5)
CUS_LOGIN_COOL_OFF_MINUTES = env.int("CUS_LOGIN_COOL_OFF_MINUTES", default=15)
# Quotas (ruling C11); existing objects beyond a bound stay usable.
CUS_QUOTA_INTEGRATIONS = env.int("CUS_QUOTA_INTEGRATIONS", default=500)
CUS_QUOTA_PRICE_OVERRIDES = env.int("CUS_QUOTA_PRICE_OVERRIDES", default=500)
CUS_QUOTA_DISPLAY_RATES = env.int("CUS_QUOTA_DISPLAY_RATES", default=2_000)
CUS_QUOTA_STOPS = env.int("CUS_QUOTA_STOPS", default=200)
CUS_QUOTA_SCOPED_LIMITS = env.int("CUS_QUOTA_SCOPED_LIMITS", default=200)
CUS_QUOTA_RUN_LIMITS = env.int("CUS_QUOTA_RUN_LIMITS", default=100_000)
CUS_QUOTA_INCREASE_REQUESTS = env.int("CUS_QUOTA_INCREASE_REQUESTS", default=100)
CUS_QUOTA_NOTIFICATION_TARGETS = env.int("CUS_QUOTA_NOTIFICATION_TARGETS", default=50)
CUS_QUOTA_MEMBERS = env.int("CUS_QUOTA_MEMBERS", default=1_000)
CUS_QUOTA_INVITATIONS = env.int("CUS_QUOTA_INVITATIONS", default=100)
CUS_QUOTA_SDK_KEYS_A_DAY = env.int("CUS_QUOTA_SDK_KEYS_A_DAY", default=50)
CUS_QUOTA_SIMULATIONS_A_DAY = env.int("CUS_QUOTA_SIMULATIONS_A_DAY", default=200)
CUS_QUOTA_TOKENS_A_DAY = env.int("CUS_QUOTA_TOKENS_A_DAY", default=200)
CUS_SESSION_HOURS = env.int("CUS_SESSION_HOURS", default=12)
# Whether /api/schema and /api/docs answer: they show all routes to strangers.
CUS_OPEN_API_DOCS = env.bool("CUS_OPEN_API_DOCS", default=LOCAL)
# The file that the logins and the SDK key of the first start go to; empty: they are printed.
CUS_FIRST_START_FILE = env("CUS_FIRST_START_FILE", default="") or (
    "" if LOCAL else str(DATA_DIR / "first-start.txt")
)

# --- Web processes: each of these counts in each process ---------------------------------------

# Threads of checks, of ingest, of signing in, of everything else that people ask for, and of
# everything else that strangers ask for. None of these takes a thread of another; probes have their own.
CUS_CHECK_THREADS = env.int("CUS_CHECK_THREADS", default=6)
CUS_INGEST_THREADS = env.int("CUS_INGEST_THREADS", default=6)
CUS_PEOPLE_THREADS = env.int("CUS_PEOPLE_THREADS", default=4)
CUS_SIGN_IN_THREADS = env.int("CUS_SIGN_IN_THREADS", default=3)
CUS_STRANGER_THREADS = env.int("CUS_STRANGER_THREADS", default=2)
# Seconds that a request waits for a thread before it gets 503.
CUS_LINE_SECONDS = env.float("CUS_LINE_SECONDS", default=10.0)
# Seconds from a request's headers to the last byte of its body; later it gets 408.
CUS_BODY_SECONDS = env.float("CUS_BODY_SECONDS", default=15.0)
# MiB of bodies that are still coming in; above, those that have been coming longest are ended.
CUS_BODIES_MIB = env.int("CUS_BODIES_MIB", default=128)
# Passwords that are hashed at one time, and those that wait for that. More get 503. The processes
# of a machine share the places by files in this folder (by default one in the system's temporary folder).
CUS_PASSWORD_PLACES = env.int("CUS_PASSWORD_PLACES", default=1)
CUS_PASSWORD_LOCKS = (
    env.str("CUS_PASSWORD_LOCKS", default="")
    or f"{gettempdir()}/cus-password-places-{os.geteuid()}"
)
CUS_PASSWORD_LINE = env.int("CUS_PASSWORD_LINE", default=8)
CUS_PASSWORD_WAIT_SECONDS = env.float("CUS_PASSWORD_WAIT_SECONDS", default=10.0)
# Wrong passwords from one address, for whomever, that close its sign-in for CUS_LOGIN_COOL_OFF_MINUTES;
# 0: any number. Sign-ins that succeed are never counted: an office is behind one address.
CUS_LOGIN_ADDRESS_FAILURES = env.int("CUS_LOGIN_ADDRESS_FAILURES", default=50)

# --- Applications -------------------------------------------------------------------------------

INSTALLED_APPS = [
    "aos_project.cus_console.site.CusConsoleConfig",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    "aos_project.cus_console.admin_pages.CusAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "csp",
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
    "knox",
    "rest_framework",
    "drf_standardized_errors",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "import_export",
    "django_prometheus",
    "django_structlog",
    "django_celery_beat",
    "integrations",
    "telemetry",
    "enforcement",
    "aos_project",
]

MIDDLEWARE = [
    "integrations.cus_web.hosts.CusHosts",
    "django.middleware.security.SecurityMiddleware",
    # An SDK's request goes no further down this list.
    "integrations.cus_web.sdk_routes.CusSdkRoutes",
    # Before anything is read for it: what a stranger costs most is a wrong password.
    "integrations.cus_accounts.login_throttle.CusAddressLimit",
    "integrations.cus_accounts.password_hashing.CusBusyPages",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "integrations.cus_accounts.session_guard.CusSessionGuard",
    "integrations.cus_accounts.second_factor_gate.CusSecondFactorGate",
    "django.contrib.messages.middleware.MessageMiddleware",
    "integrations.cus_accounts.proof_gate.CusProofGate",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "aos_project.cus_page_headers.CusPageHeaders",
    "django_structlog.middlewares.RequestMiddleware",
    "integrations.cus_web.log_context.CusLogContext",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
    "axes.middleware.AxesMiddleware",
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

_DATABASE_URL = secret(
    "DATABASE_URL", "Start everything with `make run`, or point it at a PostgreSQL ≥ 15."
)
_OWNER_URL = secret("DATABASE_OWNER_URL", default=_DATABASE_URL)
REDIS_URL = secret("REDIS_URL", "Start everything with `make run`, or point it at a Redis.")
if not LOCAL:
    refuse_weak_secrets(
        {
            "SECRET_KEY": SECRET_KEY,
            "CUS_KEY_HASH_SECRET": CUS_KEY_HASH_SECRET,
            "CUS_SEAL_SECRET": CUS_SEAL_SECRET,
            "CUS_CREDENTIAL_KEYS": CUS_CREDENTIAL_KEYS,
            "CUS_METRICS_TOKEN": CUS_METRICS_TOKEN,
            "DATABASE_URL": _DATABASE_URL,
            "DATABASE_OWNER_URL": _OWNER_URL,
            "REDIS_URL": REDIS_URL,
        }
    )

# `default` is what the product runs as; `owner` migrates, makes partitions and retains.
DATABASES = {"default": database(_DATABASE_URL), "owner": database(_OWNER_URL)}
DATABASES["owner"]["CONN_MAX_AGE"] = 0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "integrations.CusUser"

# --- Mail: invitations, and links to set a password with ---------------------------------------

# Without a mail server, mails of a local product are files here, which the console shows to operators.
CUS_LOCAL_MAIL_FOLDER = "" if env("EMAIL_URL", default="") or not LOCAL else str(DATA_DIR / "mails")
vars().update(env.email_url("EMAIL_URL", default="smtp://127.0.0.1"))
if CUS_LOCAL_MAIL_FOLDER:
    EMAIL_BACKEND = "integrations.cus_mail.local_box.CusLocalBox"
EMAIL_TIMEOUT = 10
# What one address is sent at the most (ruling C11): links to reset a password, and mails of any
# one other kind, within an hour; and all mails of one tenant within a day.
CUS_RESET_MAILS_PER_HOUR = env.int("CUS_RESET_MAILS_PER_HOUR", default=5)
CUS_MAILS_PER_ADDRESS_HOUR = env.int("CUS_MAILS_PER_ADDRESS_HOUR", default=60)
CUS_MAILS_PER_TENANT_DAY = env.int("CUS_MAILS_PER_TENANT_DAY", default=500)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env("DEFAULT_FROM_EMAIL", default="aos@localhost")

# --- Web ----------------------------------------------------------------------------------------

ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"] if LOCAL else []
)
# The beginning of links in mails; not the request's Host header, which a sender can choose.
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
if CUS_BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SESSION_COOKIE_AGE = CUS_SESSION_HOURS * 3600
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
# Lax, so that a person who follows a link from a mail stays signed in.
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
if not LOCAL:
    # Browsers take these from this very host over https alone: no subdomain can plant one.
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-cus_session", "__Host-cus_csrf"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024 + 65_536

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
FORMAT_MODULE_PATH = "aos_project.cus_formats"
USE_TZ = True
STATIC_URL = "static/"
# Locally whitenoise serves the packages' own files; production collects them first.
STATIC_ROOT = None if LOCAL else BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = LOCAL
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# Counted in the database: every process and a restart see the same, and sign-in needs it anyway.
AXES_HANDLER = "axes.handlers.database.AxesDatabaseHandler"
AXES_FAILURE_LIMIT = CUS_LOGIN_ATTEMPTS
AXES_COOLOFF_TIME = timedelta(minutes=CUS_LOGIN_COOL_OFF_MINUTES)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
# Further tries do not prolong the lock: otherwise a robot could lock the person out for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
AXES_USERNAME_FORM_FIELD = "username"
AXES_USERNAME_CALLABLE = "integrations.cus_accounts.login_throttle.login_name"
AXES_CLIENT_IP_CALLABLE = "integrations.cus_accounts.login_throttle.client_address"
AXES_LOCKOUT_CALLABLE = "integrations.cus_accounts.login_throttle.locked_out"
OTP_TOTP_ISSUER = "AOS Customer Integrations"

# --- API ----------------------------------------------------------------------------------------

SPECTACULAR_SETTINGS = {
    "TITLE": "AOS Customer Integrations",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    # From our own files, so that browsers load nothing from other servers.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # Several fields have these choices, so the document can't take a name from one of them.
    "ENUM_NAME_OVERRIDES": {
        "MutableKindEnum": "integrations.cus_notifications.kinds.MUTABLE_CHOICES",
        "IntegrationOutputStatusEnum": "integrations.cus_integrations.serializers.STATUSES",
        "SimulatedResultEnum": "enforcement.cus_what_if.serializers.CAN_BE",
        "LimitResultEnum": "enforcement.cus_checks.serializers.LIMIT_RESULTS",
        "LimitScopeEnum": "enforcement.cus_checks.serializers.LIMIT_SCOPES",
        "AmountEnum": "enforcement.cus_checks.serializers.AMOUNTS",
        "LimitUnitEnum": "enforcement.cus_checks.serializers.LIMIT_UNITS",
        "ResultEnum": "enforcement.cus_checks.serializers.RESULTS",
        "StopScopeEnum": "enforcement.cus_checks.serializers.STOP_SCOPES",
    },
}

# --- Jobs ---------------------------------------------------------------------------------------

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
CELERY_BEAT_SCHEDULE = BEAT_SCHEDULE
# Health checks wait for other people's servers: a worker of their own, or rollups would too. And
# holds must be swept within 30 seconds (ruling F5b), however slow a mail server or a rollup is.
CELERY_TASK_ROUTES = {
    "integrations.tasks.cus_check_health": {"queue": "cus_health"},
    # Webhooks wait for other people's servers, too.
    "integrations.tasks.cus_deliver_notifications": {"queue": "cus_health"},
    "enforcement.tasks.cus_sweep_holds": {"queue": "cus_holds"},
}

# --- Logs ---------------------------------------------------------------------------------------

configure_structlog()
LOGGING = logging_settings(env("LOG_LEVEL", default="INFO"), for_people=LOCAL)
DJANGO_STRUCTLOG_STATUS_4XX_LOG_LEVEL = logging.INFO
