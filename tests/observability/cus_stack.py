"""Real Prometheus and Alertmanager beside the whole product: `make test-observability`.

The product runs as `make run` starts it, and the demo replays its trace through it. pytest does not
collect this file by its name: the programs are Debian's, and a run takes minutes.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests

from aos_project.cus_embedded.process import Program, launch, stop
from observability.cus_observe import (
    Addresses,
    alertmanager,
    is_ready,
    prepare,
    prometheus,
    require_programs,
)
from tests.conftest import ROOT
from tests.cus_ports import free_port
from tests.observability.cus_files import alerts, metrics_of, panels, rules

_START_SECONDS = 180
_DATA_SECONDS = 180
_MANAGE = [sys.executable, "manage.py"]
# What a Grafana fills in.
_TENANTS = 'group by (tenant_id) (cus_integration_info{tenant="Demo"})'
_LIMITED = "Demo: small budget"
_THROTTLED, _WARNED = "Watched: throttled", "Watched: warned"
# Alert, integration, and what enforcement does with it at most.
_FOLLOWED = (
    # Of the other integration there is no warning, because the critical alert inhibits it.
    ("CusIntegrationBudgetWarning", _WARNED, "block", "limits"),
    ("CusIntegrationBudgetCritical", _LIMITED, "block", "limits"),
    ("CusEnforcementBlocking", _LIMITED, "block", "activity"),
    ("CusThrottlingActive", _THROTTLED, "throttle", "limits"),
    ("CusIntegrationHealthDegraded", "Watched: degraded", "block", "activity"),
    ("CusIntegrationHealthFailing", "Watched: failing", "block", "activity"),
)


def _until(found: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)
    return answer


class Receiver:
    """A webhook: keeps the alerts that Alertmanager sends."""

    def __init__(self) -> None:
        messages: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                messages.append(json.loads(self.rfile.read(length)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self.messages = messages
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def alert(self, name: str, integration_id: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The first alert of that name and integration, and the message that it came in."""
        for message in list(self.messages):
            for one in message["alerts"]:
                labels = one["labels"]
                if (labels["alertname"], labels["integration_id"]) == (name, integration_id):
                    return one, message
        return None


@dataclass
class Stack:
    """The product, Prometheus and Alertmanager, all running."""

    data: Path
    environment: dict[str, str]
    addresses: Addresses
    receiver: Receiver

    @property
    def product(self) -> str:
        return f"http://127.0.0.1:{self.addresses.product}"

    def manage(self, *arguments: str, text: str | None = None) -> None:
        """Run a command of the product to its end."""
        subprocess.run(
            [*_MANAGE, *arguments],
            cwd=ROOT,
            env=self.settings(),
            input=text,
            text=True,
            check=True,
            timeout=240,
        )

    def settings(self) -> dict[str, str]:
        """The environment of the running product's own programs."""
        lines = (self.data / "local.env").read_text().splitlines()
        pairs = (line.partition("=") for line in lines if line and line[0] != "#")
        return self.environment | {name: value for name, _, value in pairs}

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that Prometheus answers with. Raises if the expression is wrong."""
        address = f"http://127.0.0.1:{self.addresses.prometheus}/api/v1/query"
        answer = requests.get(address, params={"query": expression}, timeout=30).json()
        assert answer["status"] == "success", (expression, answer)
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [{"metric": {}, "value": result}]
        series: list[dict[str, Any]] = result
        return series

    def integration(self, name: str) -> dict[str, str]:
        """The labels of an integration, by its name."""
        (series,) = self.query(f'cus_integration_info{{integration="{name}"}}')
        labels: dict[str, str] = series["metric"]
        return labels


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    require_programs()
    with ExitStack() as ending:
        # Short, because sockets are below it; open, because the servers run as another user.
        data = Path(tempfile.mkdtemp(prefix="cus-observe-", dir="/tmp"))
        data.chmod(0o711)
        ending.callback(shutil.rmtree, data, ignore_errors=True)
        addresses = Addresses(free_port(), free_port(), free_port())
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/tmp"),
            "CUS_DATA_DIR": str(data),
            "CUS_ENV_FILE": os.devnull,
            "CUS_FIRST_START_FILE": str(data / "first-start.txt"),
            "CUS_PUBLIC_URL": f"http://127.0.0.1:{addresses.product}",
        }
        receiver = Receiver()
        Thread(target=receiver.server.serve_forever, daemon=True).start()
        ending.callback(receiver.server.server_close)
        ending.callback(receiver.server.shutdown)
        made = Stack(data, environment, addresses, receiver)
        command = [*_MANAGE, "cus_run", "--port", str(addresses.product)]
        product = Program("product", command, ROOT, env=environment)
        ending.enter_context(_running(product, data / "run.log"))
        _until(lambda: _ready(made.product), _START_SECONDS, "the product serves")
        _configure(data / "observe", addresses, receiver)
        for program, port in (
            (alertmanager(data / "observe", addresses), addresses.alertmanager),
            (prometheus(data / "observe", addresses), addresses.prometheus),
        ):
            ending.enter_context(_running(program, data / f"{program.name}.log"))
            _until(lambda port=port: is_ready(port), _START_SECONDS, f"{program.name} is ready")  # type: ignore[misc]
        _until(lambda: made.query("cus_integration_info"), 60, "the first scrape")
        _make_traffic(made)
        yield made


@contextmanager
def _running(program: Program, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        child = launch(program, output)
    try:
        yield
    finally:
        stop(program, child)


def _ready(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base_url}/readyz", timeout=5):
            return True
    except OSError:
        return False


def _configure(folder: Path, addresses: Addresses, receiver: Receiver) -> None:
    """The checked-in configuration, quicker and with our own receiver."""
    prepare(folder, addresses)
    for rules_file in (folder / "prometheus" / "rules").glob("*.yml"):
        text = rules_file.read_text()
        rules_file.write_text(re.sub(r"(?m)^( +for): \d+[smh]$", r"\1: 1s", text))
    config = folder / "prometheus" / "prometheus.yml"
    config.write_text(re.sub(r"(_interval): 15s", r"\1: 2s", config.read_text()))
    config = folder / "alertmanager" / "alertmanager.yml"
    port = receiver.server.server_address[1]
    text = config.read_text().replace("127.0.0.1:9099", f"127.0.0.1:{port}")
    text = text.replace("group_wait: 30s", "group_wait: 1s")
    # Otherwise an alert that joins a tenant's others is told five minutes later.
    config.write_text(text.replace("group_interval: 5m", "group_interval: 2s"))


def _make_traffic(made: Stack) -> None:
    """The demo with its budget that runs out, and what comes with days."""
    # The integrations first: series begin at 0 before their first call.
    made.manage("cus_demo", "--base-url", made.product)
    for script in ("cus_world.py", "cus_alarms.py"):
        made.manage("shell", "--no-imports", text=Path(__file__).with_name(script).read_text())
    # The last that is made.
    _until(lambda: made.query(f'cus_integration_info{{integration="{_WARNED}"}}'), 60, "scraped")
    _check_often(made)
    _spend(made)
    made.manage("cus_usage_reconcile")


def _asked(made: Stack, integration: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a program of an integration."""
    answer = requests.post(
        f"{made.product}/api/v1/cus/{path}",
        json=body,
        headers={"X-CUS-Integration-Key": (made.data / f"{integration}.key").read_text()},
        timeout=30,
    )
    assert answer.ok, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _check_often(made: Stack) -> None:
    """More checks than the rate limit of an integration admits."""
    checks = [
        _asked(made, _THROTTLED, "enforcement/check", {"call_id": f"throttled-{number}"})
        for number in range(5)
    ]
    assert checks[-1]["result"] == "throttled"


def _spend(made: Stack) -> None:
    """A call that takes most of an integration's budget, and one that was warned."""
    call = {"model": "gpt-4o", "tokens_in": 10, "tokens_out": 10, "cost_cents": 88}
    _asked(made, _WARNED, "telemetry/llm-usage", call | {"call_id": "dear"})
    asked = {"call_id": "warned", "estimated_cost_cents": 1, "estimated_tokens": 20}
    checked = _asked(made, _WARNED, "enforcement/check", asked)
    warned = call | {"call_id": "warned", "cost_cents": 1, "policy_result": checked["result"]}
    assert checked["result"] == "warned"
    assert _asked(made, _WARNED, "telemetry/llm-usage", warned)["status"] == "accepted"


def test_prometheus_evaluates_every_rule(stack: Stack) -> None:
    address = f"http://127.0.0.1:{stack.addresses.prometheus}/api/v1/rules"

    def healthy() -> list[dict[str, Any]]:
        groups = requests.get(address, timeout=30).json()["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        assert not [rule for rule in found if rule["health"] == "err"]
        return [rule for rule in found if rule["health"] == "ok"]

    assert _until(lambda: len(healthy()) == len(list(rules())), 60, "all rules are evaluated")


def test_every_metric_of_a_rule_has_data(stack: Stack) -> None:
    names = set().union(*(metrics_of(rule["expr"]) for rule in rules()))
    assert len(names) > 30
    for name in sorted(names):
        _until(lambda name=name: stack.query(f"count({name})"), _DATA_SECONDS, name)  # type: ignore[misc]


def test_every_panel_has_data(stack: Stack) -> None:
    tenant = stack.query(_TENANTS)[0]["metric"]["tenant_id"]
    shown = 0
    for board, panel in panels():
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m")
            expression = expression.replace("$tenant", tenant).replace("$integration", ".+")
            assert "$" not in expression
            _until(
                lambda expression=expression: stack.query(expression),  # type: ignore[misc]
                _DATA_SECONDS,
                f"{board}: {panel['title']}: {expression}",
            )
            shown += 1
    assert shown > 30


@pytest.mark.parametrize(("name", "integration", "state", "page"), _FOLLOWED)
def test_an_alert_reaches_the_webhook_with_labels_and_a_link_to_the_right_page(
    stack: Stack, name: str, integration: str, state: str, page: str
) -> None:
    labels = stack.integration(integration)
    found = _until(
        lambda: stack.receiver.alert(name, labels["integration_id"]),
        _DATA_SECONDS,
        f"{name} arrives",
    )
    alert, message = found

    # Grouped by the tenant alone.
    assert message["groupLabels"] == {"tenant_id": labels["tenant_id"]}
    (severity,) = (rule["labels"]["severity"] for rule in alerts() if rule["alert"] == name)
    expected = {
        "alertname": name,
        "severity": severity,
        "tenant_id": labels["tenant_id"],
        "integration_id": labels["integration_id"],
        "enforcement_state": state,
    }
    # Where a rule sums nothing up, who was scraped stands beside these.
    assert alert["labels"].items() >= expected.items()
    assert alert["labels"].keys() - expected.keys() <= {"instance", "job"}
    notes = alert["annotations"]
    assert "Investigate in Console" in notes["action"]
    assert notes["console_url"].endswith(f"/integrations/{labels['integration_id']}/{page}")
    assert notes["runbook_url"].endswith(f"docs/operations.md#{name.lower()}")
    opened = _signed_in(stack).get(notes["console_url"], timeout=30)
    assert opened.status_code == 200
    assert f"/cusintegration/{labels['integration_id']}/" in opened.url
    assert integration in opened.text


def _signed_in(stack: Stack) -> requests.Session:
    """A browser of the operator of the first start."""
    first = (stack.data / "first-start.txt").read_text()
    match = re.search(r"^ +operator +(\S+) +(\S+)$", first, re.MULTILINE)
    assert match
    session = requests.Session()
    login = f"{stack.product}/admin/login/"
    session.get(login, timeout=30)
    values = {
        "username": match[1],
        "password": match[2],
        "csrfmiddlewaretoken": session.cookies["csrftoken"],
    }
    answer = session.post(login, values, headers={"Referer": login}, timeout=60)
    assert answer.status_code == 200
    return session


def test_every_alert_of_the_demo_has_the_labels_and_links_that_all_must_have(stack: Stack) -> None:
    names = {rule["alert"] for rule in alerts()}
    address = f"http://127.0.0.1:{stack.addresses.prometheus}/api/v1/alerts"
    found = _until(
        lambda: requests.get(address, timeout=30).json()["data"]["alerts"], 60, "an alert fires"
    )
    for alert in found:
        assert alert["labels"]["alertname"] in names
        assert {"tenant_id", "integration_id", "enforcement_state"} <= alert["labels"].keys()
        link = urllib.parse.urlsplit(alert["annotations"]["console_url"])
        assert f"{link.scheme}://{link.netloc}" == stack.product


def test_promtool_finds_nothing_to_say_about_the_metrics(stack: Stack) -> None:
    page = requests.get(f"{stack.product}/metrics", timeout=30).text
    ours = "".join(
        line + "\n" for line in page.splitlines() if re.match(r"(# (HELP|TYPE) )?cus_", line)
    )
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=ours, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_workers_count_their_jobs(stack: Stack) -> None:
    runs = 'cus_integration_job_runs_total{job_name="enforcement.tasks.cus_sweep_holds",outcome="succeeded"} > 0'
    _until(lambda: stack.query(runs), _DATA_SECONDS, "the sweeper's runs")


def test_pages_of_all_web_processes_are_counted_together(stack: Stack) -> None:
    before = _pages(stack)
    for _ in range(20):
        requests.get(f"{stack.product}/admin/login/", timeout=30)
    assert {_pages(stack) - before for _ in range(6)} == {20}


def _pages(stack: Stack) -> int:
    page = requests.get(f"{stack.product}/metrics", timeout=30).text
    match = re.search(
        r'^django_http_responses_total_by_status_view_method_total\{.*view="admin:login".*\} (\S+)$',
        page,
        re.MULTILINE,
    )
    return int(float(match[1])) if match else 0
