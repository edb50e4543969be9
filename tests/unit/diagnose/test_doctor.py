"""What the doctor makes of what it finds."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import cast

import pytest

from onestack.cli import doctor as shown
from onestack.deploy import up
from onestack.diagnose import doctor as diagnosed
from onestack.diagnose import preflight
from onestack.diagnose.doctor import Diagnosis, examine
from onestack.kernel import disk
from onestack.model.findings import Finding, info, refuse, warn
from onestack.supervise.client import Client
from tests.unit.deploy.toys import Supervisor, context


@pytest.mark.parametrize(
    ("remark", "well"),
    [
        (info("the clock is exact"), True),
        (warn("a time server does not answer"), True),
        (refuse("measures wait to be counted", cure="onestack restart gnocchi"), False),
    ],
)
def test_a_service_that_does_not_do_its_work_is_not_well(remark: Finding, well: bool) -> None:
    found = Diagnosis((), (remark,), True, 1, (), (), None)
    assert found.well is well
    assert found.to_json()["remarks"] == [remark.to_json()]


def test_a_supervisor_of_another_version_is_one_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It had ended the verb, and nothing else was looked at."""
    ctx = context(tmp_path)
    supervisor = Supervisor(ctx)
    supervisor.up = supervisor.other_version = True
    monkeypatch.setattr(up, "prepare_steps", lambda ctx: [])
    monkeypatch.setattr(up, "ensure_identity", lambda *_: iter(()))
    machine = [warn("the disk is small"), warn("it drops", "who")]
    monkeypatch.setattr(preflight, "examine", lambda *_: machine)
    monkeypatch.setattr(diagnosed, "health", lambda _: [refuse("it drops", "who")])
    ctx.cloud.log.mkdir(parents=True)
    (ctx.cloud.log / "doors-api.log").write_text("ERROR it is locked\n")
    processes = [p for c in ctx.components for p in c.processes(ctx)]
    since = datetime.datetime.now().astimezone() - datetime.timedelta(hours=1)
    found = examine(ctx, cast(Client, supervisor), processes, lambda *_: None, since)
    (remark,) = [r for r in found.remarks if "another version of onestack" in r.what]
    assert "onestack up" in remark.cure
    assert not found.well and found.running
    # What the running cloud suffers from is not said of the machine again.
    assert found.findings == (machine[0],)
    assert refuse("it drops", "who") in found.remarks
    assert any("restart the supervisor" in what for what in found.drift)
    assert found.to_json()["remarks"]
    shown.show(found)
    said = capsys.readouterr().out
    assert "Processes: not known\nServices:\n  - the supervisor is of another version" in said


def test_a_full_disk_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path)
    assert diagnosed.full_disk(ctx) == []
    # What the message bus stops at is full, too.
    monkeypatch.setattr(diagnosed, "disk_free", lambda place: disk.FULL - 1)
    assert len(diagnosed.full_disk(ctx)) == 1
    monkeypatch.setattr(diagnosed, "disk_free", lambda place: 4096)
    (finding,) = diagnosed.full_disk(ctx)
    assert "is full" in finding.what and "4 KiB" in finding.why
    assert "more than 64 MiB" in finding.cure and "not removed" in finding.cure
    supervisor = Supervisor(ctx)
    monkeypatch.setattr(preflight, "examine", lambda *_: [warn("something else")])
    ctx.cloud.log.mkdir(parents=True)
    since = datetime.datetime.now().astimezone()
    found = examine(ctx, cast(Client, supervisor), [], lambda *_: None, since)
    assert found.findings[0] == finding and not found.well
