"""No record is stranded: neither by a wrong address, nor by an upgrade of the SDK."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aos_sdk.cus_delivery.connection import DEFAULT_BASE_URL, CusConnection
from aos_sdk.cus_delivery.folders import folder_of, former_folders, owner_of
from aos_sdk.cus_delivery.spool import CusSpool
from aos_sdk.cus_doctor import main
from tests.sdk.conftest import KEY, MakeReporter
from tests.sdk.cus_fake_servers import CusFakeCollector
from tests.sdk.cus_reports import cus_eventually, cus_record

WRONG = "https://aos.example.org"
SIBLING = "tenant-1:integration-2:aosk_verysecretindeed"


def _spool(tmp_path: Path, address: str, key: str = KEY) -> CusSpool:
    return CusSpool(str(tmp_path / "spool"), CusConnection.resolve(key, address))


def _former(tmp_path: Path, address: str, key: str = KEY) -> Path:
    """The folder of SDK 0.1.0."""
    root = str(tmp_path / "spool")
    return Path(former_folders(root, CusConnection.resolve(key, address))[0])


def _leave(
    spool: CusSpool, folder: Path | None = None, count: int = 3, *, names: str | None = None
) -> set[str]:
    """Leave the ring of a process that was killed, in a folder of SDK 0.1.0 if one is given."""
    buffer = spool.create(64)
    number = 100
    for number in range(100, 100 + count):
        buffer.append(cus_record(number, integration_id=names))
    buffer.abandon()
    if folder is not None:
        folder.mkdir(mode=0o700, exist_ok=True)
        for ring in Path(spool.folder).glob("*.ring"):
            ring.rename(folder / ring.name)
    return {cus_record(number).call_id for number in range(100, 100 + count)}


def _send_one(make_reporter: MakeReporter) -> None:
    reporter = make_reporter()
    reporter.report(cus_record(1))
    assert reporter.flush(10.0) == 0


def test_records_that_were_written_for_a_wrong_address_go_to_the_right_one(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    left = _leave(_spool(tmp_path, WRONG))
    _send_one(make_reporter)
    cus_eventually(lambda: collector.stored.keys() >= left)


@pytest.mark.parametrize(
    "address_of",
    [lambda url: url, lambda url: url.replace("http:", "https:"), lambda _: DEFAULT_BASE_URL],
    ids=["this address", "the other scheme", "the default address"],
)
def test_rings_of_the_last_release_are_adopted_where_the_address_is_known(
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    tmp_path: Path,
    address_of: Callable[[str], str],
) -> None:
    address = address_of(collector.url)
    left = _leave(_spool(tmp_path, address), _former(tmp_path, address))
    _send_one(make_reporter)
    cus_eventually(lambda: collector.stored.keys() >= left)
    cus_eventually(lambda: not list(_former(tmp_path, address).iterdir()))


def test_a_ring_of_another_address_whose_records_name_the_integration_is_adopted(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    left = _leave(_spool(tmp_path, WRONG), _former(tmp_path, WRONG), names="integration-1")
    _send_one(make_reporter)
    cus_eventually(lambda: collector.stored.keys() >= left)


@pytest.mark.parametrize("name", [None, "integration-2"])
def test_a_ring_that_nobody_can_place_or_that_is_a_siblings_is_left_alone(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path, name: str | None
) -> None:
    former = _former(tmp_path, WRONG, SIBLING)
    _leave(_spool(tmp_path, WRONG, SIBLING), former, names=name)
    (ring,) = former.iterdir()
    before = ring.read_bytes()
    spool = _spool(tmp_path, collector.url)
    assert list(spool.adopt()) == list(spool.adopt()) == []
    _send_one(make_reporter)
    assert collector.stored.keys() == {"call-1"}
    assert ring.read_bytes() == before


def test_of_a_ring_with_one_nameless_record_nothing_is_adopted(
    collector: CusFakeCollector, tmp_path: Path
) -> None:
    spool = _spool(tmp_path, WRONG)
    buffer = spool.create(64)
    for number, name in enumerate(["integration-1", None, "integration-1"]):
        buffer.append(cus_record(number, integration_id=name))
    buffer.abandon()
    former = _former(tmp_path, WRONG)
    former.mkdir()
    for ring in Path(spool.folder).glob("*.ring"):
        ring.rename(former / ring.name)
    assert list(_spool(tmp_path, collector.url).adopt()) == []


def test_a_folder_says_whose_it_is_and_holds_no_key(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        _send_one(make_reporter)
    finally:
        os.umask(before)
    folder = Path(_spool(tmp_path, collector.url).folder)
    about = folder / "about"
    assert json.loads(about.read_text()) == {
        "tenant_id": "tenant-1",
        "integration_id": "integration-1",
    }
    assert stat.S_IMODE(about.stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir() if not path.name.endswith(".ring")] == ["about"]


def test_a_folder_has_its_name_whatever_the_address_and_the_secret(tmp_path: Path) -> None:
    other_secret = "tenant-1:integration-1:aosk_another"
    folders = {
        _spool(tmp_path, WRONG).folder,
        _spool(tmp_path, DEFAULT_BASE_URL, other_secret).folder,
    }
    assert len(folders) == 1
    assert folders == {folder_of(str(tmp_path / "spool"), _spool(tmp_path, WRONG).owner)}
    assert _spool(tmp_path, WRONG, SIBLING).folder not in folders


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"tenant_id": 1, "integration_id": "x"}', "["]
)
def test_an_about_that_cannot_be_read_says_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "about").write_text(content)
    assert owner_of(str(tmp_path)) is None


def test_a_file_in_the_making_that_a_killed_process_left_is_removed(
    collector: CusFakeCollector, tmp_path: Path
) -> None:
    spool = _spool(tmp_path, collector.url)
    _leave(spool)
    forgotten = [Path(spool.folder, name) for name in ("about.12.new", "12.ring.new")]
    young = Path(spool.folder, "about.13.new")
    for path in (*forgotten, young):
        path.touch()
    for path in forgotten:
        os.utime(path, (1, 1))
    for ring in spool.adopt():
        ring.abandon()
    assert [path.exists() for path in (*forgotten, young)] == [False, False, True]


def test_a_ring_that_cannot_be_read_keeps_no_other_from_being_adopted(
    make_reporter: MakeReporter, collector: CusFakeCollector, tmp_path: Path
) -> None:
    spool = _spool(tmp_path, collector.url)
    left = _leave(spool)
    for name, content in (("0", b"short"), ("1", b""), ("2", b"AOSRING\0" + bytes(8_000))):
        Path(spool.folder, f"{name}.ring").write_bytes(content)
    _send_one(make_reporter)
    cus_eventually(lambda: collector.stored.keys() >= left)


# ---- the doctor


def _doctor(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, list[dict[str, str]]]:
    code = main(["doctor", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)["checks"]


@pytest.fixture
def _configured(monkeypatch: pytest.MonkeyPatch, collector: CusFakeCollector) -> None:
    monkeypatch.setenv("CUS_INTEGRATION_KEY", KEY)
    monkeypatch.setenv("AOS_BASE_URL", collector.url)


def _spool_says(checks: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(check["state"], check["says"]) for check in checks if check["check"] == "spool"]


@pytest.mark.usefixtures("_configured")
def test_the_doctor_counts_records_whatever_address_they_were_written_for(
    capsys: pytest.CaptureFixture[str], collector: CusFakeCollector, tmp_path: Path
) -> None:
    _leave(_spool(tmp_path, collector.url), _former(tmp_path, collector.url))
    _leave(_spool(tmp_path, WRONG), _former(tmp_path, WRONG), names="integration-1")
    _leave(_spool(tmp_path, WRONG))
    ((state, says),) = _spool_says(_doctor(capsys)[1])
    assert state == "ok"
    assert "9 records in 3 rings that the next process to report adopts" in says


@pytest.mark.usefixtures("_configured")
def test_the_doctor_names_folders_that_nobody_can_place_with_age_and_size(
    capsys: pytest.CaptureFixture[str], collector: CusFakeCollector, tmp_path: Path
) -> None:
    former = _former(tmp_path, WRONG)
    _leave(_spool(tmp_path, WRONG), former)
    (ring,) = former.iterdir()
    three_days = ring.stat().st_mtime - 3 * 86_400 - 60
    os.utime(ring, (three_days, three_days))
    _, (state, says) = _spool_says(_doctor(capsys)[1])
    assert state == "warning"
    assert f"3 records in 1 ring (0.2 MiB, last changed 3 days ago) in {former}" in says
    assert f"doctor --adopt {former}" in says


@pytest.mark.usefixtures("_configured")
def test_the_doctor_is_silent_about_what_a_sibling_keeps_or_a_process_still_writes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    former = _former(tmp_path, WRONG, SIBLING)
    _leave(_spool(tmp_path, WRONG, SIBLING), former, names="integration-2")
    _leave(_spool(tmp_path, WRONG, SIBLING))
    living = _spool(tmp_path, WRONG).create(64)
    living.append(cus_record(1))
    written = _former(tmp_path, WRONG)
    written.mkdir()
    for ring in Path(_spool(tmp_path, WRONG).folder).glob("*.ring"):
        ring.rename(written / ring.name)
    assert len(_spool_says(_doctor(capsys)[1])) == 1
    living.abandon()


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize("by_name", [False, True])
def test_adopt_sends_a_folder_on_the_users_word(
    capsys: pytest.CaptureFixture[str],
    collector: CusFakeCollector,
    tmp_path: Path,
    *,
    by_name: bool,
) -> None:
    former = _former(tmp_path, WRONG)
    left = _leave(_spool(tmp_path, WRONG), former)
    code, checks = _doctor(capsys, "--adopt", former.name if by_name else str(former))
    assert code == 0
    assert [check["says"].partition(" of /")[0] for check in checks] == [
        "3 records in 1 ring",
        "3 records sent",
    ]
    assert collector.stored.keys() == left
    assert {row["integration_id"] for row in collector.stored.values()} == {"integration-1"}
    assert not former.exists()


@pytest.mark.usefixtures("_configured")
def test_what_adopt_cannot_send_now_the_next_process_sends(
    capsys: pytest.CaptureFixture[str],
    make_reporter: MakeReporter,
    collector: CusFakeCollector,
    tmp_path: Path,
) -> None:
    former = _former(tmp_path, WRONG)
    left = _leave(_spool(tmp_path, WRONG), former)
    collector.script.extend([(503, {})] * 100)
    code, (_, sending) = _doctor(capsys, "--adopt", str(former))
    assert (code, sending["state"]) == (1, "problem")
    assert "3 not yet: the next process to report sends them" in sending["says"]
    collector.script.clear()
    _send_one(make_reporter)
    cus_eventually(lambda: collector.stored.keys() >= left)


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize("says_so", ["about", "record"])
def test_adopt_refuses_another_integrations_records_and_moves_nothing(
    capsys: pytest.CaptureFixture[str], collector: CusFakeCollector, tmp_path: Path, says_so: str
) -> None:
    theirs = _spool(tmp_path, WRONG, SIBLING)
    if says_so == "about":
        _leave(theirs)
        folder = Path(theirs.folder)
    else:
        folder = _former(tmp_path, WRONG, SIBLING)
        _leave(theirs, folder)
        _leave(theirs, folder, names="integration-2")
    before = sorted(folder.iterdir())
    code, checks = _doctor(capsys, "--adopt", str(folder))
    ((state, says),) = _spool_says(checks)
    assert (code, state) == (1, "problem")
    assert "integration-2" in says
    assert "the key is of integration integration-1" in says
    assert "nothing was moved" in says
    assert sorted(folder.iterdir()) == before
    assert not collector.stored


@pytest.mark.usefixtures("_configured")
def test_adopt_leaves_the_ring_of_a_running_process(
    capsys: pytest.CaptureFixture[str], collector: CusFakeCollector, tmp_path: Path
) -> None:
    former = _former(tmp_path, WRONG)
    spool = _spool(tmp_path, WRONG)
    left = _leave(spool, former)
    living = spool.create(64)
    living.append(cus_record(1))
    for ring in Path(spool.folder).glob("*.ring"):
        ring.rename(former / ring.name)
    _, checks = _doctor(capsys, "--adopt", str(former))
    assert "1 ring stayed there, of running processes" in checks[0]["says"]
    assert collector.stored.keys() == left
    assert len(list(former.iterdir())) == 1
    living.abandon()


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize(
    "trouble", ["no folder", "another disk", "off", "no home", "no key", "its own"]
)
def test_adopt_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    collector: CusFakeCollector,
    tmp_path: Path,
    trouble: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    former = _former(tmp_path, WRONG)
    _leave(_spool(tmp_path, WRONG), former)
    _leave(_spool(tmp_path, collector.url))
    asked = {
        "no folder": str(tmp_path / "nowhere"),
        "its own": _spool(tmp_path, collector.url).folder,
    }.get(trouble, str(former))
    if trouble == "another disk":
        monkeypatch.setattr(os, "rename", refuse)
    if trouble == "off":
        monkeypatch.setenv("CUS_SPOOL_DIR", "off")
    if trouble == "no home":
        monkeypatch.delenv("CUS_SPOOL_DIR")
        monkeypatch.setenv("XDG_STATE_HOME", "relative")
        monkeypatch.setattr(os.path, "expanduser", lambda path: path)
        monkeypatch.chdir(tmp_path)
    if trouble == "no key":
        monkeypatch.delenv("CUS_INTEGRATION_KEY")
    code, checks = _doctor(capsys, "--adopt", asked)
    says = {
        "no folder": "is not a folder",
        "another disk": "copy their folder to",
        "off": "CUS_SPOOL_DIR turns the spool off",
        "no home": "can have no spool",
        "no key": "no integration key is set",
        "its own": "is this integration's own",
    }
    assert says[trouble] in checks[0]["says"]
    assert code == (0 if trouble == "its own" else 1)
    assert len(list(former.iterdir())) == 1


def test_the_command_line_adopts(collector: CusFakeCollector, tmp_path: Path) -> None:
    former = _former(tmp_path, WRONG)
    left = _leave(_spool(tmp_path, WRONG), former)
    environment = os.environ | {"CUS_INTEGRATION_KEY": KEY, "AOS_BASE_URL": collector.url}
    arguments = [sys.executable, "-m", "aos_sdk", "doctor", "--adopt", str(former)]
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert "3 records sent" in run.stdout
    assert "secret" not in run.stdout
    assert collector.stored.keys() == left
