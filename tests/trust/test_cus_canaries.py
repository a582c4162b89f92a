"""Forty canary credentials go everywhere that credentials go, and are found nowhere (ruling C1).

A step is a function that takes the world and does something with its canaries; add it to `STEPS`.
What it gets to see (answers, errors, pages) it hands to `world.canaries.collect`. Tables, logs and
the broker are read after each step.
"""

import base64
import copy
import json
import logging
import os
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from aos_project.celery import app
from aos_project.cus_task import SecretInTask
from integrations.cus_accounts.models import CusTenant
from integrations.cus_credentials.envelope import key_ring
from integrations.cus_credentials.models import CusCredential
from integrations.cus_credentials.service import CusCredentialService
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_lifecycle.models import CusIntegration
from integrations.cus_web.errors import CusError
from integrations.cus_web.redaction import redacted_traceback
from integrations.tasks import cus_check_health
from tests.cus_factories import make_tenant, make_user, opened_credential, signed_in
from tests.cus_raw_server import Behaviour, RawServer, http_answer
from tests.services.cus_fake_vault import TOKEN, serving_vault
from tests.trust.cus_canaries import Canaries, broker_content, database_dump, everything_logged

API = "/api/v1/cus/integrations"
ADMIN = "/admin/integrations"
_SHAPES: list[tuple[str, dict[str, str], dict[str, str]]] = [
    ("openai", {"api_key": "sk-proj-"}, {}),
    ("openai", {"api_key": ""}, {}),
    ("anthropic", {"api_key": "sk-ant-"}, {}),
    ("azure_openai", {"api_key": ""}, {"base_url": "https://a.example.com"}),
    ("azure_openai", {"azure_ad_token": "eyJ0eXAi."}, {"base_url": "https://a.example.com"}),
    ("bedrock", {"aws_access_key_id": "AKIA", "aws_secret_access_key": ""}, {"region": "eu-west-1"}),
    ("custom", {"api_key": ""}, {"base_url": "https://m.example.com/v1"}),
]  # fmt: skip


@dataclass
class World:
    """What the steps share."""

    canaries: Canaries
    tenant: CusTenant
    client: Client
    settings: Settings
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    integrations: list[CusIntegration] = field(default_factory=list)

    @property
    def service(self) -> CusIntegrationService:
        return CusIntegrationService(self.tenant)

    @property
    def credentials(self) -> CusCredentialService:
        return CusCredentialService(self.tenant)

    def credential(self, shape: dict[str, str]) -> dict[str, str]:
        """A credential of this shape whose every part is a canary."""
        return {name: self.canaries.new(prefix) for name, prefix in shape.items()}

    def send(self, method: str, url: str, body: Any) -> Any:
        """Ask the API, and keep what it answers."""
        answer = self.client.generic(method, url, json.dumps(body), "application/json")
        self.canaries.collect("API answers", answer.content.decode(), answer.headers)
        return answer

    def expect(self, kind: type[BaseException], act: Callable[[], Any]) -> None:
        """An error: its text, its repr and its traceback."""
        with pytest.raises(kind) as caught:
            act()
        error = caught.value
        self.canaries.collect("errors", error, repr(error), error.args)
        self.canaries.collect("tracebacks", *traceback.format_exception(error))

    def command(self, *arguments: str) -> None:
        """A management command: what it prints, and how it fails."""
        out, err = StringIO(), StringIO()
        try:
            call_command(*arguments, stdout=out, stderr=err)
        except (CommandError, SystemExit) as error:
            self.canaries.collect("commands", error)
        self.canaries.collect("commands", out.getvalue(), err.getvalue())


def create(world: World) -> None:
    """By the service and over HTTP, every provider's shapes."""
    for number in range(21):
        provider, shape, config = _SHAPES[number % len(_SHAPES)]
        made = world.service.create(
            name=f"Service {number}",
            provider_type=provider,
            credential=world.credential(shape),
            config=config,
        )
        world.integrations.append(world.service.enable(made))
    for number, (provider, shape, config) in enumerate(_SHAPES):
        body = {"name": f"API {number}", "provider_type": provider, "config": config}
        answer = world.send("POST", API, body | {"credential": world.credential(shape)})
        assert answer.status_code == 201, answer.content
        world.integrations.append(world.service.get(answer.json()["id"]))


def update(world: World) -> None:
    """Credentials replaced by the service and over HTTP."""
    for one in world.integrations[:7]:
        shape = dict.fromkeys(opened_credential(one), "")
        world.service.change(one.id, credential=world.credential(shape))
        answer = world.send(
            "PATCH", f"{API}/{one.id}", {"credential": world.credential(shape), "rate_limit_rpm": 5}
        )
        assert answer.status_code == 200


def refused_input(world: World) -> None:
    """Credentials of the wrong shape, and secrets put where none belong."""
    url = f"{API}/{world.integrations[0].id}"
    new = world.canaries.new
    bodies: tuple[dict[str, Any], ...] = (
        {"credential": new()},
        {"credential": {"api_key": new(), "surprise": new()}},
        {"credential": {"api_key": [new()]}},
        {"credential": {"api_key": f"{new()} {new()}"}},
        {"config": {"api_key": new()}},
        {"config": {"base_url": f"https://me:{new()}@example.com"}},
        {"config": {"organization": f"{new()} {new()}"}},
    )
    for body in bodies:
        assert world.send("PATCH", url, body).status_code == 400
    broken = world.client.generic("PATCH", url, f'{{"credential": {new()}', "application/json")
    world.canaries.collect("API answers", broken.content.decode())
    one = world.integrations[0]
    world.expect(ValidationError, lambda: world.service.change(one.id, credential={"key": new()}))


def rotate(world: World) -> None:
    """New keys for all, then a new credential for some."""
    fresh = base64.b64encode(os.urandom(32)).decode()
    world.settings.CUS_CREDENTIAL_KEYS = f"fresh:{fresh},{world.settings.CUS_CREDENTIAL_KEYS}"
    world.command("cus_credential_rotate", "--dry-run")
    world.command("cus_credential_rotate")
    assert set(CusCredential.objects.values_list("key_id", flat=True)) == {"fresh"}
    path = world.folder / "credential"
    for text in (world.canaries.new(), json.dumps({"api_key": world.canaries.new()}), "{broken"):
        path.write_text(text)
        one = str(world.integrations[0].id)
        world.command("cus_credential_rotate", "--integration", one, "--file", str(path))
    path.write_text(json.dumps({"surprise": world.canaries.new()}))
    world.command("cus_credential_rotate", "--integration", one, "--file", str(path))
    assert opened_credential(world.integrations[0])


def import_workers(world: World) -> None:
    """Good and bad lines of a legacy export."""
    path = world.folder / "workers"
    good = {"provider": "openai", "api_key": world.canaries.new()}
    bad = {"provider": "bedrock", "api_key": world.canaries.new(), "region": "nowhere at all"}
    for configs in ([good], [good, bad], [{"provider": world.canaries.new(), "api_key": "x"}]):
        lines = [
            {"tenant": world.tenant.name, "worker_id": f"w{number}", "config": config}
            for number, config in enumerate(configs)
        ]
        path.write_text(json.dumps(lines))
        world.command("cus_migrate_workers", str(path))
        world.command("cus_migrate_workers", str(path), "--apply")
    assert CusIntegration.objects.filter(name="w0").count() == 1


def failing_opens(world: World) -> None:
    """Credentials that can't be opened: damaged, not in the environment, not in Vault."""
    damaged, from_environment, from_vault = world.integrations[-3:]
    stored = CusCredential.objects.get(integration=damaged)
    sealed = bytearray(stored.sealed)
    sealed[-1] ^= 1
    CusCredential.objects.filter(id=stored.id).update(sealed=bytes(sealed))
    world.expect(CusError, lambda: opened_credential(damaged))
    world.monkeypatch.setenv(
        "CUS_CREDENTIAL_CANARY", f'{{"api_key": 5, "x": "{world.canaries.new()}"}}'
    )
    world.credentials.refer(from_environment, "env://CUS_CREDENTIAL_CANARY")
    world.expect(CusError, lambda: opened_credential(from_environment))
    with serving_vault() as vault:
        world.settings.CUS_VAULT_ADDRESS, world.settings.CUS_VAULT_TOKEN = vault.address, TOKEN
        world.credentials.refer(from_vault, f"vault://secret/cus/{world.tenant.id}/x#api_key")
        vault.secrets[f"secret/cus/{world.tenant.id}/x"] = {"other": world.canaries.new()}
        world.expect(CusError, lambda: opened_credential(from_vault))
        vault.secrets[f"secret/cus/{world.tenant.id}/x"] = {"api_key": world.canaries.new()}
        assert opened_credential(from_vault)
        vault.mode = "broken"
        world.expect(CusError, lambda: opened_credential(from_vault))


def exceptions(world: World) -> None:
    """Programming errors that quote an opened credential: logged, chained, grouped, warned of."""
    log, structured = logging.getLogger("canaries"), structlog.get_logger("canaries")
    for one in world.integrations[:5]:
        opened = opened_credential(one)
        secret = next(iter(opened.values()))
        log.warning("%s %r %s", opened, secret, {"deep": [opened, secret]})
        structured.warning("opened", credential=opened, value=secret, deep={"a": [secret]})
        try:
            try:
                raise KeyError(secret)
            except KeyError as cause:
                raise ExceptionGroup(secret, [ValueError(secret, opened)]) from cause
        except ExceptionGroup as error:
            log.exception("failed with %s", secret)
            structured.exception("failed", value=secret)
            world.canaries.collect("tracebacks", redacted_traceback(error))


def server_error(world: World) -> None:
    """A view that fails with a credential in its hands."""
    opened = opened_credential(world.integrations[0])

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError(f"could not use {dict(opened)}")

    client = copy.copy(world.client)
    client.raise_request_exception = False
    with world.monkeypatch.context() as patch:
        patch.setattr(CusIntegrationService, "get", fail)
        patch.setattr(CusIntegrationService, "change", fail)
        url = f"{API}/{world.integrations[0].id}"
        for answer in (
            client.get(url),
            client.patch(url, {"rate_limit_rpm": 7}, content_type="application/json"),
        ):
            assert answer.status_code == 500
            world.canaries.collect("API answers", answer.content.decode())


def console(world: World) -> None:
    """Every page that shows an integration, and those around it."""
    pages = [
        "/admin/",
        f"{ADMIN}/cusintegration/",
        f"{ADMIN}/cussdkkey/",
        f"{ADMIN}/cussdkkey/add/",
    ]
    for one in world.integrations:
        pages += [f"{ADMIN}/cusintegration/{one.id}/{page}/" for page in ("change", "history")]
    for page in pages:
        answer = world.client.get(page, follow=True)
        assert answer.status_code in (200, 403), page
        world.canaries.collect("HTML", answer.content.decode())


def answers(world: World) -> None:
    """Everything that the API tells of integrations."""
    for url in (API, *(f"{API}/{one.id}" for one in world.integrations)):
        assert world.send("GET", url, None).status_code == 200


def echoing_providers(world: World) -> None:
    """Providers that answer with the key they were sent: tested, checked by beat, shown."""
    world.settings.CUS_ALLOW_HTTP_PROVIDERS = True
    for status in (200, 302, 401, 403, 429, 500):
        with RawServer(_echo(status)) as server:
            world.settings.CUS_ALLOWED_PRIVATE_HOSTS = [f"127.0.0.1:{server.port}"]
            one = world.service.create(
                name=f"Echo {status}",
                provider_type="custom",
                credential={"api_key": world.canaries.new("sk-")},
                config={"base_url": server.url},
            )
            assert world.send("POST", f"{API}/{one.id}/test", None).status_code == 200
            pressed = world.client.post(f"{ADMIN}/cusintegration/{one.id}/test_now/", follow=True)
            world.canaries.collect("HTML", pressed.content.decode())
            CusIntegration.objects.filter(id=one.id).update(health_checked_at=None)
            cus_check_health.apply(args=(str(one.id),))
            world.command("cus_health_check", "--integration", str(one.id), "--json")
            assert server.connections == 4
        world.send("GET", f"{API}/{one.id}/health", None)
    history = world.client.get(f"{ADMIN}/cushealthtransition/")
    world.canaries.collect("HTML", history.content.decode())


def _echo(status: int) -> Behaviour:
    def behave(client: socket.socket, head: bytes) -> None:
        error = {"code": "invalid_api_key", "message": f"No such key: {head.decode()}"}
        body = json.dumps({"error": error}).encode()
        place = ("Location", f"/{head.decode().rpartition('Bearer ')[2].split()[0]}")
        client.sendall(http_answer(status, body, [("Content-Type", "application/json"), place]))

    return behave


@app.task(name="tests.trust.canary")
def _use(integration_id: str) -> None:
    one = CusIntegration.objects.get(id=integration_id)
    opened = opened_credential(one)
    raise RuntimeError(f"provider says no to {dict(opened)}")


def jobs(world: World) -> None:
    """A job that carries an id, one that would carry a secret, one that fails with a secret."""
    one = world.integrations[0]
    secret = next(iter(opened_credential(one).values()))
    world.expect(SecretInTask, lambda: _use.delay(secret))
    world.expect(SecretInTask, lambda: _use.apply_async(kwargs={"integration_id": secret}))
    _use.delay(str(one.id))
    content = broker_content()
    assert str(one.id) in content
    world.canaries.collect("broker", content)
    _use.apply(args=(str(one.id),))  # its failure is logged as a worker logs it


def reprs(world: World) -> None:
    """The texts of printing the object."""
    world.canaries.collect("repr", repr(key_ring(world.settings.CUS_CREDENTIAL_KEYS)))
    for one in world.integrations[:10]:
        opened = opened_credential(one)
        shown = (opened, [opened], f"{opened}", world.credentials, one, vars(one))
        world.canaries.collect("repr", *map(repr, shown))
        stored = CusCredential.objects.get(integration=one)
        world.canaries.collect(
            "repr", repr(stored), str(stored), vars(stored), pickle.dumps(stored)
        )


def delete(world: World) -> None:
    """A deleted integration's ciphertext is gone too."""
    one = world.integrations.pop(0)
    sealed = bytes(CusCredential.objects.get(integration=one).sealed).hex()
    assert sealed in database_dump()["cus_credentials"]
    assert world.send("DELETE", f"{API}/{one.id}", None).status_code == 204
    assert not any(sealed in rows for rows in database_dump().values())


STEPS: list[Callable[[World], None]] = [
    create,
    update,
    refused_input,
    rotate,
    import_workers,
    failing_opens,
    echoing_providers,
    exceptions,
    server_error,
    console,
    answers,
    jobs,
    reprs,
    delete,
]


@pytest.fixture
def world(
    transactional_db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    client = signed_in(make_user("admin", tenant := make_tenant()))
    keys = settings.CUS_CREDENTIAL_KEYS
    yield World(Canaries(), tenant, client, settings, tmp_path, monkeypatch)
    key_ring.cache_clear()
    assert keys


def test_no_canary_is_found_anywhere(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    with everything_logged() as logs:
        for step in STEPS:
            step(world)
            for table, rows in database_dump().items():
                world.canaries.collect(f"table {table}", rows)
            world.canaries.collect("broker", broker_content())
    for name, stream in logs.items():
        world.canaries.collect(name, stream.getvalue())

    canaries = world.canaries
    assert len(canaries.values) >= 40
    for place in ("HTML", "API answers", "errors", "tracebacks", "commands", "repr", *logs):
        assert canaries.places[place], place
    for table in ("cus_credentials", "cus_integrations", "cus_audit_trail", "django_session"):
        assert any(canaries.places[f"table {table}"]), table
    for stream in logs.values():
        # The canaries went through the logs, and left their masks.
        assert stream.getvalue().count("[masked]") > 25
        assert "provider says no" in stream.getvalue()
    assert canaries.leaks() == []


def test_a_canary_that_got_out_would_be_found() -> None:
    canaries = Canaries()
    value = canaries.new("sk-")
    for place, found in (
        ("whole", f"x {value} y"),
        ("part", value[5:20]),
        ("hex", value.encode().hex()),
        ("base64", base64.b64encode(f'{{"api_key": "{value}"}}'.encode()).decode()),
        ("fine", value[-4:]),
    ):
        canaries.collect(place, found)

    assert canaries.leaks() == ["whole", "part", "hex", "base64"]
