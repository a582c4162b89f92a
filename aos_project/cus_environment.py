"""The sources of the settings: the environment, and the files that it names.

Precedence: the process environment, then `.env`, then `.data/local.env`, which `make run` writes on
a machine without a configuration.
"""

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
DATA_DIR = Path(env("CUS_DATA_DIR", default=str(BASE_DIR / ".data")))
environ.Env.read_env(env("CUS_ENV_FILE", default=str(BASE_DIR / ".env")))
environ.Env.read_env(DATA_DIR / "local.env")

MODE = env("CUS_MODE", default="production")
if MODE not in ("production", "local"):
    msg = f"CUS_MODE is {MODE!r}; it must be 'production' or 'local'."
    raise ImproperlyConfigured(msg)
LOCAL = MODE == "local"


def secret(name: str, hint: str = "", default: str | None = None) -> str:
    """A secret: from the file that `<name>_FILE` names, else the variable, else `default`.

    The file comes first, because systems that mount secrets as files set that variable on purpose.
    """
    value: str = _file_text(f"{name}_FILE") or env(name, default="") or default or ""
    if not value and default is None:
        msg = f"{name} is not set. {hint}"
        raise ImproperlyConfigured(msg)
    return value


def database(url: str) -> dict[str, Any]:
    """An entry of Django's DATABASES: the PostgreSQL at this address, with our options."""
    config: dict[str, Any] = env.db_url_config(url)
    if config.get("ENGINE") != "django.db.backends.postgresql":
        msg = "DATABASE_URL must be a postgres:// address: evidence needs PostgreSQL's triggers and partitions."
        raise ImproperlyConfigured(msg)
    # An acknowledged event must be on disk, whatever the server's own default is.
    durable = "-c synchronous_commit=on -c idle_in_transaction_session_timeout=30s"
    config["OPTIONS"] = {
        **config.get("OPTIONS", {}),
        "options": f"{durable} -c statement_timeout={env('CUS_STATEMENT_TIMEOUT', default='30s')}",
        "connect_timeout": 5,
        "application_name": "aos-customer-integrations",
    }
    config["CONN_MAX_AGE"] = 600
    config["CONN_HEALTH_CHECKS"] = True
    return config


def _file_text(name: str) -> str:
    """The text of the file that an environment variable names; empty if it names no file."""
    path = env(name, default="")
    if not path:
        return ""
    try:
        text = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        msg = f"{name} is {path!r}, which can't be read: {reason}."
        raise ImproperlyConfigured(msg) from None
    if not text:
        msg = f"{name} is {path!r}, and that file is empty."
        raise ImproperlyConfigured(msg)
    return text
