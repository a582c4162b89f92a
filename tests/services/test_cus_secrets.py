"""Production does not start with a secret that can be guessed, and never quotes a secret."""

import base64
import re

import pytest
from django.core.exceptions import ImproperlyConfigured

from aos_project.cus_secrets import refuse_weak_secrets
from tests.conftest import ROOT

GOOD = {
    "SECRET_KEY": "qO9wX2vB7nM4kL1jH8gF5dS3aP6oI0uY-tR_eWzQxCvBnMlKjHgFdSa",
    "CUS_KEY_HASH_SECRET": "Zx8Cv7Bn6Mq5Wl4Ek3Rj2Th1Yg0Uf9Id",
    "CUS_SEAL_SECRET": "Kp3Vd8Ws1Qz6Xe0Rc5Tf9Yb2Un7Im4Lj",
    "CUS_CREDENTIAL_KEYS": "2026a:" + base64.b64encode(bytes(range(32))).decode(),
    "CUS_METRICS_TOKEN": "",
    "DATABASE_URL": "postgres://cus_app:hT5rE4wQ@db/cus",
    "DATABASE_OWNER_URL": "postgres://cus_owner:zU7iO9pL@db/cus",
    "REDIS_URL": "redis://:nB3vC6xY@redis:6379/0",
}


def _refused(**changes: str) -> str:
    with pytest.raises(ImproperlyConfigured) as refusal:
        refuse_weak_secrets(GOOD | changes)
    return str(refusal.value)


def test_good_secrets_are_taken() -> None:
    refuse_weak_secrets(GOOD)
    refuse_weak_secrets(GOOD | {"CUS_METRICS_TOKEN": "hT5rE4wQzU7iO9pLnB3vC6xY"})
    refuse_weak_secrets(GOOD | {"REDIS_URL": "unix:///run/valkey.sock?db=0"})


@pytest.mark.parametrize(
    "name", ["SECRET_KEY", "CUS_KEY_HASH_SECRET", "CUS_SEAL_SECRET", "CUS_METRICS_TOKEN"]
)
@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("Zx8Cv7", "is shorter than"),
        ("change-me-" + "qO9wX2vB7nM4kL1jH8gF5dS3aP6oI0uY-tR_eWzQxCvBnMlKj", "placeholder"),
        ("django-insecure-" + "qO9wX2vB7nM4kL1jH8gF5dS3aP6oI0uY-tR_eWz", "placeholder"),
        ("ThisIsAnExampleKeyThatNobodyShouldEverUseAnywhere12345", "placeholder"),
        ("a" * 64, "repeats a few"),
        ("0123" * 16, "repeats a few"),
    ],
)
def test_a_secret_that_can_be_guessed_is_refused(name: str, secret: str, says: str) -> None:
    message = _refused(**{name: secret})

    assert message.startswith(name)
    assert says in message
    assert "openssl rand" in message
    assert secret not in message


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("", "can't be read"),
        ("2026a:", "can't be read"),
        ("2026a:c2hvcnQ=", "can't be read"),
        ("2026a:" + base64.b64encode(bytes(32)).decode(), "has a key that is not random, 2026a"),
        (
            GOOD["CUS_CREDENTIAL_KEYS"]
            + ",old:"
            + base64.b64encode(b"secret" * 5 + b"se").decode(),
            "has a key that is not random, old",
        ),
    ],
)
def test_a_key_ring_that_can_be_guessed_is_refused(keys: str, says: str) -> None:
    message = _refused(CUS_CREDENTIAL_KEYS=keys)

    assert says in message
    assert keys.rpartition(":")[2] not in message or not keys.rpartition(":")[2]


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"])
def test_the_password_of_the_example_is_refused(name: str) -> None:
    example = (ROOT / ".env.example").read_text()
    (value,) = re.findall(f"^{name}=(.+)$", example, re.MULTILINE)

    assert _refused(**{name: value}).startswith(name)


def test_one_secret_does_not_serve_twice() -> None:
    assert "is the same as SECRET_KEY" in _refused(CUS_KEY_HASH_SECRET=GOOD["SECRET_KEY"])
    for name in ("SECRET_KEY", "CUS_KEY_HASH_SECRET"):
        assert f"is the same as {name}" in _refused(CUS_SEAL_SECRET=GOOD[name])


def test_each_of_several_seal_secrets_is_tested() -> None:
    good = GOOD["CUS_SEAL_SECRET"]
    refuse_weak_secrets(GOOD | {"CUS_SEAL_SECRET": f"{good[::-1]},{good}"})

    assert "is shorter than" in _refused(CUS_SEAL_SECRET=f"{good},short")
    assert "holds no secret" in _refused(CUS_SEAL_SECRET=",")
    assert "is the same as" in _refused(CUS_SEAL_SECRET=f"{good},{GOOD['SECRET_KEY']}")
