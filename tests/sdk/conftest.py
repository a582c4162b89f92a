"""A collector, and reporters that leave no thread behind."""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import certifi
import hypothesis
import pytest

from aos_sdk import CusReporter, cus_configure, cus_uninstall_middleware
from aos_sdk.cus_configuration import CusConfiguration, active
from aos_sdk.cus_token_counter import ready_to_count
from tests.sdk.cus_capture_cases import CusRecordingReporter
from tests.sdk.cus_fake_providers import CusFakeProvider
from tests.sdk.cus_fake_servers import CusFakeCollector, CusFakeGovernor

if TYPE_CHECKING:
    import openai

# As everywhere; at a customer's, these tests run without the plugin that says so (cus_matrix.py).
hypothesis.settings.register_profile("without_deadline", deadline=None)
hypothesis.settings.load_profile("without_deadline")

KEY = "tenant-1:integration-1:aosk_verysecretindeed"

_numbers = itertools.count(1)
MakeReporter = Callable[..., CusReporter]


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One authority, in place of the machine's hundreds.

    Providers' clients read the whole file each time one is made, though they speak plain HTTP here:
    that took half of these tests' time.
    """
    first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    file = tmp_path_factory.mktemp("authorities") / "one.pem"
    file.write_text(first + end)
    return file


@pytest.fixture
def _folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a test: `tmp_path`, or, where a test has no eye on it, one that is never made.

    pytest looks through all folders of a run to number the next one.
    """
    if "tmp_path" in request.fixturenames:
        return cast("Path", request.getfixturevalue("tmp_path"))
    return tmp_path_factory.getbasetemp() / f"unseen-{next(_numbers)}"


@pytest.fixture(autouse=True)
def _quick_and_isolated(monkeypatch: pytest.MonkeyPatch, _folder: Path, authorities: Path) -> None:
    monkeypatch.setenv("CUS_SPOOL_DIR", str(_folder / "spool"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    for name in ("CUS_INTEGRATION_KEY", "AOS_BASE_URL", "AOS_ALLOW_HTTP", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    # Tests of enforcement turn it on.
    monkeypatch.setenv("CUS_ENFORCE", "off")
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("aos_sdk.cus_delivery.waits.FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("aos_sdk.cus_reporter._logged_problems", set())
    # However busy this machine is, what can be counted is not approximated.
    monkeypatch.setattr("aos_sdk.cus_counting.estimates.COUNTING_SECONDS", 60.0)


@pytest.fixture
def collector() -> Iterator[CusFakeCollector]:
    with CusFakeCollector() as running:
        yield running


@pytest.fixture
def make_reporter(collector: CusFakeCollector) -> Iterator[MakeReporter]:
    made: list[CusReporter] = []

    def make(**changes: object) -> CusReporter:
        options: dict[str, Any] = {
            "integration_key": KEY,
            "base_url": collector.url,
            "timeout": 2.0,
            "batch_interval": 0.05,
            **changes,
        }
        made.append(CusReporter(**options))
        return made[-1]

    yield make
    for reporter in made:
        # Records that a test left behind would be waited for until the time is over.
        reporter.shutdown(0.1 if reporter.stats.queued else 1.0)


@pytest.fixture(scope="session")
def provider() -> Iterator[CusFakeProvider]:
    with CusFakeProvider() as running:
        yield running


@pytest.fixture
def recorder() -> Iterator[CusRecordingReporter]:
    """The reporter of the process's configuration; afterwards there is none, and no patch."""
    # Else the first count of a run would be an estimate, while the encoding loads.
    while not ready_to_count("gpt-4o"):
        time.sleep(0.01)
    reporter = CusRecordingReporter()
    active.replace(CusConfiguration(reporter))
    yield reporter
    cus_uninstall_middleware()
    active.replace(None)
    reporter.shutdown(1.0)


@pytest.fixture
def governor() -> Iterator[CusFakeGovernor]:
    """A server that decides on calls."""
    with CusFakeGovernor() as running:
        yield running


@pytest.fixture
def configure(governor: CusFakeGovernor) -> Iterator[MakeReporter]:
    """Makes reporters of a program whose calls the governor decides on."""
    made: list[CusReporter] = []

    def make(**changes: Any) -> CusReporter:
        settings: dict[str, Any] = {
            "integration_key": KEY,
            "base_url": governor.url,
            "enforce": "auto",
            "batch_interval": 0.05,
            "contention_seconds": 0.1,
            **changes,
        }
        made.append(cus_configure(**settings))
        return made[-1]

    yield make
    cus_uninstall_middleware()
    active.replace(None)
    governor.trouble, governor.delay_seconds = [], 0.0
    for reporter in made:
        reporter.shutdown(1.0)


@pytest.fixture
def client(provider: CusFakeProvider) -> Iterator["openai.OpenAI"]:
    import openai

    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as made:
        yield made
