"""bench/services: what is asked for, and the table. The figures themselves need clouds."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from onestack.answers.registry import registry
from onestack.model.cloud import Cloud

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def services() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("bench_services", str(BENCH / "services"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def test_its_answers_are_answers(services: ModuleType) -> None:
    for name, given in services.SERVICES.items():
        registry().answers({**services.CORE, **given})
        registry().answers(services.off(name))
        assert given.keys() == services.off(name).keys()
    assert Cloud.named("benchsvc").name == "benchsvc"


def test_some_or_all(services: ModuleType) -> None:
    assert services.chosen([]) == (list(services.SERVICES), True)
    assert services.chosen(["horizon", "heat"]) == (["heat", "horizon"], False)
    assert services.chosen(["cinder-backup"]) == (["swift"], False)
    assert services.chosen(["everything"]) == ([], True)
    with pytest.raises(SystemExit, match="no service nova; there are chrony, "):
        services.chosen(["nova"])


def test_the_table(services: ModuleType) -> None:
    taken, added = services.Taken, services.Added
    results = services.Results(
        core=[taken(0.1, 16, 45, 1480), taken(0.5, 18, 45, 1490)],
        new={
            "heat": [taken(0.2, 19, 46, 1580), taken(0.2, 19, 46, 1590)],
            "swift": [taken(1.0, 20, 50, 1650, {"cinder-backup": (0.5, 1, 60.0)})],
        },
        running={"heat": [added(0.3, 6.0), added(0.4, 7.0)]},
    )
    core, heat, swift, backup = services.rows(results)
    assert core == ("core", "17.0", "0.1-0.5", "", "", "", "45", "1485")
    assert heat == ("heat", "19.0", "0.2", "+2.0", "6.5", "0.3-0.4", "+1", "+100")
    assert swift == ("swift", "20.0", "1.0", "+2.5", "", "", "+4", "+105")
    assert backup[3:] == ("+0.5", "with swift", "", "+1", "+60")
    lines = services.show([core, heat, swift, backup]).splitlines()
    assert len({len(line) for line in lines}) == 1 and lines[0].strip().startswith("from nothing")
    assert services.rows(services.Results()) == []


def test_the_cloud_goes_also_when_interrupted(
    services: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    cloud = services.CloudUnderTest

    def interrupted(self: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cloud, "up", interrupted)
    monkeypatch.setattr(cloud, "onestack", lambda self, *words, **more: done.append(words))
    with pytest.raises(KeyboardInterrupt):
        services.take("benchsvc", [], 0)
    assert done == [("destroy", "--yes", "--keep-cache")]


def test_figures_outlive_what_fails(
    services: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(self: object, *words: str, **more: object) -> None:
        if words[0] == "up" and "CONFIG_SWIFT_INSTALL=y" in words:
            raise RuntimeError("swift did not come up")

    file = tmp_path / "figures.json"
    monkeypatch.setattr(services, "processes", lambda root: [])
    monkeypatch.setattr(services.CloudUnderTest, "up", lambda self: None)
    monkeypatch.setattr(services.CloudUnderTest, "onestack", fails)
    monkeypatch.setattr(services.signal, "signal", lambda number, handler: None)
    words = ["services", "heat", "swift", "--settle", "0", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(RuntimeError):
        services.main()
    assert "\ncore " in capsys.readouterr().out
    found = json.loads(file.read_text())
    assert len(found["core"]) == 1 and list(found["running"]) == ["heat"]


def test_a_process_of_a_cloud_is_found_by_its_name(services: ModuleType) -> None:
    words = ["bash", "-c", "exec -a 'cinder-backup [/x]' sleep 60"]
    one = subprocess.Popen(words, env={**os.environ, "ONESTACK_SUPERVISED": "/x"})
    try:
        until = time.monotonic() + 10
        while services.named([one.pid], "cinder-backup") != [one.pid]:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert services.processes(Path("/x")) == [one.pid]
        assert services.pss([one.pid]) > 0
        assert services.named([one.pid], "cinder") == []
    finally:
        one.kill()
        one.wait()
