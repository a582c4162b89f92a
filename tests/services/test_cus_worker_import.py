"""Legacy workers become integrations: all of a file or nothing, and never twice."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from integrations.cus_accounts.models import CusTenant
from integrations.cus_integrations.models import CusImportedWorker
from integrations.cus_integrations.service import CusIntegrationService
from integrations.cus_integrations.worker_config import WorkerRefused, entries, worker_config
from integrations.cus_lifecycle.models import CusIntegration
from tests.cus_factories import make_tenant, opened_credential

pytestmark = pytest.mark.django_db

SECRET = "plain-word-that-no-pattern-knows"


def _worker(tenant: CusTenant, worker_id: str = "summariser", **fields: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "tenant": tenant.name,
        "worker_id": worker_id,
        "enabled": True,
        "config": {"provider": "openai", "api_key": SECRET, "model": "gpt-4o"},
        "max_runs_per_day": 100,
        "max_tokens_per_run": 2_000,
    }
    return values | fields


def _config(**fields: Any) -> dict[str, Any]:
    return {"config": {"provider": "openai", "api_key": SECRET} | fields}


class _Run:
    """One run of the command over a file."""

    def __init__(self, folder: Path, content: object, *arguments: str) -> None:
        path = folder / "workers.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        out, err = StringIO(), StringIO()
        self.failed = ""
        try:
            call_command("cus_migrate_workers", str(path), *arguments, stdout=out, stderr=err)
        except CommandError as error:
            self.failed, self.code = str(error), error.returncode
        self.said = out.getvalue() + err.getvalue() + self.failed


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")


def test_a_dry_run_shows_what_would_become_and_changes_nothing(
    tenant: CusTenant, tmp_path: Path
) -> None:
    run = _Run(tmp_path, [_worker(tenant)])

    assert not run.failed
    for part in ("summariser", "openai, enabled", "gpt-4o", "6,200,000", "1 would be imported"):
        assert part in run.said
    assert not CusIntegration.objects.exists()
    assert not CusImportedWorker.objects.exists()


def test_applying_makes_integrations_that_serve(tenant: CusTenant, tmp_path: Path) -> None:
    workers = [_worker(tenant), _worker(tenant, "idle", enabled=False)]
    workers[1]["tenant"] = str(tenant.id)

    run = _Run(tmp_path, workers, "--apply")

    assert "2 imported" in run.said
    one = CusIntegration.objects.get(name="summariser")
    assert (one.status, one.default_model) == ("enabled", "gpt-4o")
    assert one.token_limit_month == 100 * 2_000 * 31
    assert (one.budget_limit_cents, one.rate_limit_rpm) == (0, 0)
    assert opened_credential(one) == {"api_key": SECRET}
    assert one.credential_origin == "https://api.openai.com:443"
    assert CusIntegration.objects.get(name="idle").status == "created"


def test_running_again_changes_nothing_whatever_became_of_it_since(
    tenant: CusTenant, tmp_path: Path
) -> None:
    workers = [_worker(tenant), _worker(tenant, "second")]
    _Run(tmp_path, workers, "--apply")
    service = CusIntegrationService(tenant)
    service.delete(CusIntegration.objects.get(name="second"))
    service.change(CusIntegration.objects.get(name="summariser").id, name="renamed")
    before = list(CusIntegration.objects.order_by("id").values())

    run = _Run(tmp_path, workers, "--apply")

    assert "0 imported, 2 had been before" in run.said
    assert "is renamed already" in run.said
    assert list(CusIntegration.objects.order_by("id").values()) == before


def test_one_bad_line_and_nothing_is_imported(tenant: CusTenant, tmp_path: Path) -> None:
    lines = [json.dumps(_worker(tenant, f"w{n}")) for n in range(3)]
    lines.insert(2, json.dumps(_worker(tenant, "bad", enabled="yes")))
    lines.insert(1, "")

    run = _Run(tmp_path, "\n".join(lines), "--apply")

    assert run.code == 1
    assert "Line 4: enabled must be true or false." in run.said
    assert "Nothing is imported" in run.failed
    assert not CusIntegration.objects.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tenant": "Nobody"}, "tenant is neither the id nor the name"),
        ({"worker_id": ""}, "worker_id must be a text"),
        ({"worker_id": "a\x00b"}, "can't be shown"),
        ({"worker_id": 7}, "worker_id must be a text"),
        ({"config": None}, "A worker is an object"),
        ({"max_runs_per_day": "100"}, "max_runs_per_day must be a whole number"),
        ({"max_tokens_per_run": -1}, "max_tokens_per_run must be a whole number"),
        ({"max_tokens_per_run": True}, "max_tokens_per_run must be a whole number"),
        ({"max_tokens_per_run": 2**62}, "is too large"),
        (_config(provider="magic"), "is unknown"),
        (_config(provider=None), "provider must be a text"),
        (_config(api_key=None), "A credential of openai is"),
        (_config(api_key={"value": SECRET}), "api_key must be a text"),
        (_config(api_key=f"{SECRET} {SECRET}"), "api_key must be a text without spaces"),
        (_config(base_url=f"https://me:{SECRET}@host/v1"), "base_url is not an address"),
        (_config(base_url="http://["), "base_url"),
        (_config(provider="anthropic", base_url="https://elsewhere/v1"), "address of its own"),
        (_config(base_url="https://api.openai.com:8443/v1", api_base="https://x.example"), "(api_base)"),
        (_config(api_base="https://x.example/v1"), "(api_base) can't be"),
        (_config(endpoint="https://x.example/v1"), "(endpoint) can't be"),
        (_config(provider="anthropic", base_url="https://api.openai.com"), "address of its own"),
        (_config(provider="anthropic", base_url="https://api.anthropic.com:444"), "address of its own"),
        (_config(provider="bedrock", region="us-east-1", endpoint_url="https://x.example"), "must not go elsewhere"),
        (_config(provider="bedrock", region="us-east-1", base_url="https://bedrock.eu-west-1.amazonaws.com"), "must not go elsewhere"),
        (_config(provider="azure", base_url="https://a.example", azure_endpoint="https://b.example"), "(azure_endpoint)"),
        (_config(base_url="https://0x7f.1/v1"), "four plain decimal numbers"),
        (_config(provider="bedrock", region=""), "region is missing"),
        (_config(model=["gpt-4o"]), "model must be a text"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_named_by_line_and_never_quoted(
    tenant: CusTenant, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    run = _Run(tmp_path, [_worker(tenant, "good"), _worker(tenant) | change])

    assert run.code == 1
    assert "Line 1: " in run.said
    assert says in run.said
    assert SECRET not in run.said
    assert not CusIntegration.objects.exists()


def test_lines_of_an_array_are_told_apart(tenant: CusTenant, tmp_path: Path) -> None:
    text = f"[\n{json.dumps(_worker(tenant))},\n\n {json.dumps(_worker(tenant, enabled=3))}\n]"

    assert "Line 4: enabled must be" in _Run(tmp_path, text).said


@pytest.mark.parametrize(
    ("text", "line"), [("[{]", 1), ('[\n{"a": 1},\n', 3), ("nonsense", 1), ('"x"\n{', 2)]
)
def test_what_is_no_json_is_refused_by_line(tmp_path: Path, text: str, line: int) -> None:
    run = _Run(tmp_path, text)

    assert f"Line {line}: This is not JSON" in run.said
    assert run.code == 1


def test_the_same_worker_twice_in_a_file_is_refused(tenant: CusTenant, tmp_path: Path) -> None:
    twice = [_worker(tenant), _worker(tenant) | {"tenant": str(tenant.id)}]

    assert "The same worker as in line 1." in _Run(tmp_path, "\n".join(map(json.dumps, twice))).said


def test_a_name_that_is_taken_is_refused(tenant: CusTenant, tmp_path: Path) -> None:
    CusIntegrationService(tenant).create(
        name="summariser", provider_type="openai", credential={"api_key": "sk-0123456789"}
    )

    run = _Run(tmp_path, [_worker(tenant)], "--apply")

    assert "Another integration of this tenant has that name" in run.said
    assert CusIntegration.objects.count() == 1


def test_the_same_worker_of_two_tenants_is_two(tenant: CusTenant, tmp_path: Path) -> None:
    _Run(tmp_path, [_worker(tenant), _worker(make_tenant())], "--apply")

    assert CusIntegration.objects.filter(name="summariser").count() == 2


def test_a_file_that_is_not_there_has_an_exit_code_of_its_own() -> None:
    with pytest.raises(CommandError, match="can't be read") as caught:
        call_command("cus_migrate_workers", "/nowhere/at/all")

    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    ("config", "becomes"),
    [
        ({"provider": "OpenAI"}, ("openai", {})),
        ({"provider": "openai", "base_url": "https://api.openai.com/v1"}, ("openai", {})),
        ({"provider": "openai", "base_url": "https://x.example/v1"}, ("custom", {"base_url": "https://x.example/v1"})),
        ({"provider": "vllm", "base_url": "https://x.example"}, ("custom", {"base_url": "https://x.example"})),
        # The key was another address's: it goes there, not to the provider that is named.
        ({"provider": "openai", "base_url": "https://api.openai.com:8443/v1"}, ("custom", {"base_url": "https://api.openai.com:8443/v1"})),
        ({"provider": "openai", "base_url": "https://api.anthropic.com/v1"}, ("custom", {"base_url": "https://api.anthropic.com/v1"})),
        ({"provider": "vllm", "base_url": "https://api.openai.com/v1"}, ("custom", {"base_url": "https://api.openai.com/v1"})),
        ({"provider": "claude", "base_url": "https://api.anthropic.com/"}, ("anthropic", {})),
        ({"provider": "openai", "api_base": "https://API.openai.com:443/v1"}, ("openai", {})),
        ({"provider": "bedrock", "region": "us-east-1", "endpoint_url": "https://bedrock.us-east-1.amazonaws.com"}, ("bedrock", {"region": "us-east-1"})),
        ({"provider": "claude"}, ("anthropic", {})),
        ({"provider": "azure-openai", "base_url": "https://a.example", "deployment": "d"}, ("azure_openai", {"base_url": "https://a.example", "deployment": "d"})),
        ({"provider": "AWS Bedrock", "aws_region": "us-east-1"}, ("bedrock", {"region": "us-east-1"})),
    ],
)  # fmt: skip
def test_providers_are_mapped(config: dict[str, str], becomes: tuple[str, dict[str, str]]) -> None:
    worker = worker_config(
        {"tenant": "t", "worker_id": "w", "config": {"api_key": SECRET} | config}
    )

    assert (worker.provider_type, worker.config) == becomes
    assert SECRET not in repr(worker)


@pytest.mark.parametrize(
    ("runs", "tokens", "limit", "note"),
    [
        (10, 100, 31_000, "as tokens a month"),
        (10, None, 0, "runs a day have no equal"),
        (None, 100, 0, "tokens a run have no equal"),
        (0, 0, 0, None),
    ],
)
def test_limits_are_carried_over_or_said_not_to_be(
    runs: int | None, tokens: int | None, limit: int, note: str | None
) -> None:
    entry = {
        "tenant": "t",
        "worker_id": "w",
        "max_runs_per_day": runs,
        "max_tokens_per_run": tokens,
    }

    worker = worker_config(entry | _config(temperature=0.2))

    assert worker.token_limit_month == limit
    assert any(note in text for text in worker.notes) if note else len(worker.notes) == 1
    assert worker.notes[-1] == "not carried over: temperature"


def test_a_file_in_lines_and_the_same_in_an_array_are_alike() -> None:
    assert list(entries('{"a": 1}\n{"a": 2}')) == [(1, {"a": 1}), (2, {"a": 2})]
    assert list(entries('[{"a": 1},\n{"a": 2}]')) == [(1, {"a": 1}), (2, {"a": 2})]
    (_, refused), = entries("[" * 100_000)  # fmt: skip
    assert isinstance(refused, WorkerRefused)
