"""States that older programs have kept: brought to today's format, or refused."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.answers import packstack_file
from onestack.answers.registry import registry
from onestack.answers.secrets import Secrets
from onestack.cli import bootstrap, session
from onestack.cli import main as program
from onestack.components.swift.devices import loop_file
from onestack.deploy import patches, prepare
from onestack.host.ledger import Ledger
from onestack.model.cloud import FORMAT, Cloud, CloudRecord, HostRecord, record_path
from onestack.model.errors import OnestackError, PreflightRefused
from onestack.model.host import Host
from onestack.release.release import CURRENT
from onestack.storage.pool import Pool
from tests.support.needs import needs_root
from tests.unit.deploy.toys import context

STATES = Path(__file__).resolve().parents[2] / "states"
"""NUMBER-WHAT: as a program wrote it just before the patch of that number."""
pytestmark = needs_root


@pytest.fixture
def older() -> Iterator[Cloud]:
    """Of format 0, in a namespace; nothing of it runs."""
    # A root may have 60 characters.
    with tempfile.TemporaryDirectory(prefix="older-") as folder:
        root = Path(folder)
        shutil.copytree(STATES / "0001-before", root, dirs_exist_ok=True)
        for path in root.rglob("*"):
            if path.is_file():
                path.write_text(path.read_text().replace("@ROOT@", str(root)))
        yield Cloud.named("older", root)


def bring(cloud: Cloud) -> list[str]:
    made = []
    for change in patches.ensure_format(cloud):
        change.do()
        made.append(change.what)
    return made


def others(cloud: Cloud) -> dict[str, str]:
    """All that is kept besides the record."""
    files = [p for p in cloud.root.rglob("*") if p.is_file() and p != record_path(cloud.root)]
    return {str(path): path.read_text() for path in files}


def test_each_format_has_its_patch_and_each_patch_a_state() -> None:
    assert len(patches.PATCHES) == FORMAT
    folder = Path(patches.__file__).parent
    numbers = sorted(int(path.name[1:5]) for path in folder.glob("p[0-9]*.py"))
    assert numbers == list(range(1, FORMAT + 1))
    assert sorted(int(path.name[:4]) for path in STATES.iterdir()) == numbers


def test_a_patch_stands_on_its_own() -> None:
    """It must do the same when today's readers and writers have become others."""
    allowed = {"onestack.host.files"}
    for path in Path(patches.__file__).parent.glob("p[0-9]*.py"):
        ours = set(re.findall(r"(?:from|import) (onestack[\w.]*)", path.read_text()))
        assert ours <= allowed, path.name


def test_format_0(older: Cloud) -> None:
    assert older.netns == "onestack-older"
    assert older.record == CloudRecord("older", "onestack-older", 0, "2026.2")
    before = others(older)
    (what,) = bring(older)
    assert "to format 1" in what
    here = HostRecord(socket.gethostname(), ("compute", "controller", "gateway", "storage"))
    assert older.record == CloudRecord("older", "onestack-older", 1, "2026.2", (here,))
    assert others(older) == before
    assert bring(older) == []
    # what else is kept is as today's readers want it
    assert [e.kind for e in Ledger.of(older).entries()] == ["user", "netns", "packages"]
    answers = registry().answers({})
    kept = Secrets(older.etc / "secrets.json", answers, registry().secrets, keep=False)
    assert kept["nova_db"] == "77ab"
    pool, objects = Pool.at(older.root).load(), loop_file(older.root).load()
    assert pool and (pool.size, pool.user) == (20 << 30, "onestack-older-cinder")
    assert objects and (objects.size, objects.kind) == (2 << 30, "xfs")
    given = {e.name: e.text for e in packstack_file.read(older.etc / "answers.txt").entries}
    assert given == {"CONFIG_SWIFT_INSTALL": "y"}


def test_the_patched_record_is_what_up_writes(older: Cloud, tmp_path: Path) -> None:
    bring(older)
    ctx = context(tmp_path)
    host = Host.alone(older, ctx.facts, session.own_name(older))
    ctx = dataclasses.replace(ctx, cloud=older, host=host)
    assert record_path(older.root).read_text() == prepare.record_of(ctx).text


def test_killed_before_the_number_is_written(older: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(patches, "write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            bring(older)
    record = older.record
    assert record and record.format == 0 and record.hosts
    assert len(bring(older)) == 1
    assert older.record == dataclasses.replace(record, format=1)


def test_a_cloud_that_is_not_there_has_nothing_to_patch(tmp_path: Path) -> None:
    assert bring(Cloud("none", tmp_path)) == []


def test_a_damaged_record(older: Cloud) -> None:
    record_path(older.root).write_text('{"name": "older"')
    with pytest.raises(OnestackError, match="does not say which cloud this is") as caught:
        Cloud.named("older", older.root)
    assert caught.value.why and caught.value.cure


def write(cloud: Cloud, **changes: object) -> None:
    record = cloud.record
    assert record
    raw = json.loads(record.text) | changes
    record_path(cloud.root).write_text(json.dumps(raw))


CHANGING = {
    "up": ("up",),
    "up --dry-run": ("up", "--dry-run"),
    "down": ("down",),
    "down --dry-run": ("down", "--dry-run"),
    "restart": ("restart", "keystone"),
    "pool grow": ("pool", "grow", "+1G"),
    "verify": ("verify",),
    "verify --tempest": ("verify", "--tempest", "smoke"),
}
DESTROY = {"destroy": ("destroy", "--yes"), "destroy --dry-run": ("destroy", "--dry-run")}


def refused(cloud: Cloud, words: tuple[str, ...]) -> PreflightRefused:
    """By the verb ``words``; nothing is changed."""
    before = {p: p.read_bytes() for p in cloud.root.rglob("*") if p.is_file()}
    with pytest.raises(PreflightRefused) as caught:
        program.run([*words, "--name", cloud.name, "--root", str(cloud.root)])
    assert before == {p: p.read_bytes() for p in cloud.root.rglob("*") if p.is_file()}
    assert caught.value.exit_code == 3 and caught.value.why and caught.value.cure
    return caught.value


@pytest.mark.parametrize("words", [*CHANGING.values(), *DESTROY.values()], ids=" ".join)
def test_a_newer_format_is_refused(older: Cloud, words: tuple[str, ...]) -> None:
    # other things may stand in it by then
    write(older, format=FORMAT + 1, hosts={"what": "ever"}, release=None)
    error = refused(older, words)
    assert "newer onestack" in error.what and "the onestack that last" in error.cure


@pytest.mark.parametrize("words", CHANGING.values(), ids=" ".join)
def test_another_release_is_refused(older: Cloud, words: tuple[str, ...]) -> None:
    bring(older)
    write(older, release="2025.1")
    error = refused(older, words)
    assert "OpenStack 2025.1" in error.what and f"OpenStack {CURRENT}" in error.what
    assert "onestack destroy" in error.cure


def test_another_release_can_be_destroyed(older: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of the release is needed for that, and without it there would be no way out."""
    bring(older)
    write(older, release="2025.1")
    words = ["destroy", "--name", "older", "--root", str(older.root), "--dry-run"]
    assert program.run(words) == 0
    assert "undo 3 things" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"format": FORMAT + 1}, {"release": "2025.1", "format": 1}])
def test_the_launcher_refuses_before_it_makes_anything(
    older: Cloud, changes: dict[str, object]
) -> None:
    write(older, **changes)
    with pytest.raises(PreflightRefused):
        bootstrap.first("onestack.cli.main", ["up", "--name", "older", "--root", str(older.root)])


@pytest.mark.parametrize("name", ["restart", "pool grow", "verify --tempest"])
def test_an_older_format_wants_an_up(older: Cloud, name: str) -> None:
    assert "run onestack up" in refused(older, CHANGING[name]).cure


def test_a_dry_run_makes_nothing_and_says_each_change_once(
    older: Cloud, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def there() -> set[Path]:
        return set(older.root.rglob("*"))

    (older.root / "run").mkdir(exist_ok=True)
    (older.root / "run" / "up.lock").unlink(missing_ok=True)
    (older.root / "run").rmdir()
    before = there()
    which = ["--name", "older", "--root", str(older.root)]
    for verb in ("down", "destroy"):
        assert program.run([verb, *which, "--dry-run"]) == 0
        assert there() == before
    ctx = dataclasses.replace(context(tmp_path), cloud=older)
    pending = [change.what for change in patches.ensure_format(older)]
    whats = [change.what for change in prepare.ensure_cloud(ctx, tmp_path / "cache")]
    assert len(pending) == 1 and not [what for what in whats if "cloud.json" in what]


def unprivileged(argv: list[str], code: int) -> None:
    """As uid 65534: the exit code, and one screen of words."""
    src = Path(program.__file__).resolve().parents[2]
    made = subprocess.run(
        [sys.executable, "-m", "onestack.cli.main", *argv],
        env={"PYTHONPATH": str(src), "PATH": "/usr/sbin:/usr/bin"},
        user=65534,
        group=65534,
        extra_groups=(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert "Traceback" not in made.stderr and "error of onestack's own" not in made.stderr
    assert "root" in made.stderr and made.returncode == code, made.stderr


@pytest.mark.parametrize(
    "words",
    [["up"], ["up", "--dry-run"], ["down", "--dry-run"], ["destroy", "--dry-run"]],
    ids=" ".join,
)
def test_who_is_not_root_is_told_so(older: Cloud, words: list[str]) -> None:
    older.root.chmod(0o755)
    unprivileged([*words, "--name", "older", "--root", str(older.root)], 3)


def test_an_older_format_can_be_looked_at_and_taken_down(
    older: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    which = ["--name", "older", "--root", str(older.root)]
    assert program.run(["status", *which, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    names = {p["name"]: p["services"] for p in found["processes"]}
    assert names["nova-api"] == ["nova-conductor", "nova-scheduler"] and "mariadb" in names
    assert program.run(["down", *which, "--dry-run"]) == 0
    capsys.readouterr()
    assert program.run(["destroy", *which, "--dry-run"]) == 0
    assert "undo 3 things" in capsys.readouterr().out
    record = older.record
    assert record and record.format == 0
