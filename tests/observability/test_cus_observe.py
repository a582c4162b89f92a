"""`make observe` before it starts anything: the configuration it puts addresses in, and what it needs."""

from pathlib import Path

import pytest
import yaml

from observability import cus_observe
from observability.cus_observe import Addresses, NotInstalled, alertmanager, main, prometheus

ADDRESSES = Addresses(product=8031, prometheus=8032, alertmanager=8033)


def test_the_copied_configuration_names_the_ports_of_this_machine(tmp_path: Path) -> None:
    cus_observe.prepare(tmp_path, ADDRESSES)

    targets = {
        path.name: yaml.safe_load(path.read_text())[0]["targets"]
        for path in (tmp_path / "prometheus").glob("*targets.yml")
    }
    assert targets == {
        "targets.yml": ["127.0.0.1:8031"],
        "prometheus-targets.yml": ["127.0.0.1:8032"],
        "alertmanager-targets.yml": ["127.0.0.1:8033"],
    }
    assert (tmp_path / "prometheus" / "rules" / "cus_alerts.yml").exists()
    assert (tmp_path / "alertmanager" / "templates" / "cus.tmpl").exists()


def test_both_listen_on_this_machine_alone_and_links_begin_with_the_product(tmp_path: Path) -> None:
    program = prometheus(tmp_path, ADDRESSES)
    assert "--web.listen-address=127.0.0.1:8032" in program.command
    assert program.env
    assert program.env["CUS_CONSOLE_URL"] == "http://127.0.0.1:8031"
    assert program.env["CUS_RUNBOOKS_URL"].endswith("/docs/operations.md")
    assert "--web.listen-address=127.0.0.1:8033" in alertmanager(tmp_path, ADDRESSES).command


def test_a_missing_program_is_named_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("observability.cus_observe.shutil.which", lambda _name: None)

    assert main([]) == 1

    assert "apt-get install prometheus prometheus-alertmanager" in capsys.readouterr().err
    with pytest.raises(NotInstalled):
        cus_observe.require_programs()
