"""down and destroy, whole and half-made clouds."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onestack.deploy import prepare, teardown, unit
from onestack.deploy.undo import undo, undos
from onestack.engine import timing
from onestack.host import clouds, command, files, locks, netns, nftables
from onestack.host.command import Aborted, CommandResult, environment
from onestack.host.ledger import Ledger
from onestack.kernel import proc
from onestack.model.cloud import Cloud
from onestack.model.errors import OnestackError
from onestack.model.run import Run
from tests.support import networks
from tests.support.needs import needs_root
from tests.unit.deploy.toys import Supervisor, context

pytestmark = needs_root


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return made(Cloud("toy", tmp_path / "root"), tmp_path)


def made(cloud: Cloud, tmp_path: Path) -> Cloud:
    ctx = dataclasses.replace(context(tmp_path / f"ctx-{cloud.name}"), cloud=cloud)
    for change in prepare.ensure_cloud(ctx, tmp_path / "cache"):
        change.do()
    return cloud


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(context(tmp_path / "ctx"))


def destroy(
    cloud: Cloud, supervisor: Supervisor, keep_cache: bool = False, remove_packages: bool = False
) -> teardown.Destroyed:
    cache = cloud.root.parent / "cache"
    return teardown.destroy(
        cloud, supervisor, cache=cache, keep_cache=keep_cache, remove_packages=remove_packages
    )


def test_down_stops_what_runs(cloud: Cloud, supervisor: Supervisor) -> None:
    supervisor.up = True
    report = teardown.down(cloud, supervisor)
    assert [what for _, what in report.changes] == ["stop all processes and the supervisor"]
    assert teardown.down(cloud, supervisor).changes == []
    assert [run.verb for run in timing.load(cloud.log)] == ["down", "down"]
    assert cloud.root.is_dir()


def test_systemd_does_not_start_it_again(
    cloud: Cloud, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a supervisor's death and the next one's start there is nobody to ask."""
    states = ["activating", "inactive"]
    ran: list[str] = []

    def run(argv: list[str], **_: object) -> CommandResult:
        ran.append(" ".join(argv))
        return CommandResult(tuple(argv), 3, f"{states[0]}\n", "", 0.0)

    monkeypatch.setattr(unit, "SYSTEMD", cloud.root)
    monkeypatch.setattr(unit, "unit_path", lambda cloud: cloud.etc / "onestack-toy.service")
    monkeypatch.setattr(teardown, "unit_path", unit.unit_path)
    monkeypatch.setattr(unit, "run", run)
    assert teardown.down(cloud, supervisor).changes == []
    unit.unit_path(cloud).touch()
    whats = [what for _, what in teardown.down(cloud, supervisor).changes]
    assert whats == ["stop onestack-toy.service"]
    assert "systemctl stop onestack-toy.service" in ran
    states.pop(0)
    assert teardown.down(cloud, supervisor).changes == []


def test_destroy_leaves_nothing(cloud: Cloud, supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.up = True
    outside = tmp_path / "outside"
    outside.write_text("")
    ledger = Ledger.of(cloud)
    ledger.record("file", path=str(outside))
    ledger.record("packages", names=["p"])
    done = destroy(cloud, supervisor)
    assert done.packages == ("p",)
    assert not done.cache and done.others == ()
    assert not outside.exists() and not cloud.root.exists()
    assert not (tmp_path / "cache").exists()
    again = destroy(cloud, supervisor)
    assert again.report.changes == [] and again.packages == ()


@pytest.mark.skipif(not shutil.which("nft", path=environment()["PATH"]), reason="needs nftables")
def test_packages_go_after_what_their_programs_undo(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is cut short, and run again."""
    nft = str(shutil.which("nft", path=environment()["PATH"]))
    came, removed = tmp_path / "came" / "nft", []
    came.parent.mkdir()
    came.symlink_to(nft)
    ended = True

    def purge(names: list[str]) -> None:
        if ended:
            raise OnestackError("stopped", "killed")
        removed.append(names)
        came.unlink()

    def tables() -> str:
        return subprocess.run([nft, "list", "tables"], capture_output=True, text=True).stdout

    monkeypatch.setattr(teardown, "purge", purge)
    monkeypatch.setattr(command, "environment", lambda extra=None: {"PATH": str(came.parent)})
    monkeypatch.setenv("PATH", str(came.parent))
    Ledger.of(cloud).record(nftables.TABLE, name="toy", netns=None)
    Ledger.of(cloud).record("packages", names=["nftables"])
    with networks.alone():
        for family in nftables.FAMILIES:
            subprocess.run([nft, "add", "table", family, "toy"], check=True)
        with pytest.raises(OnestackError, match="stopped"):
            destroy(cloud, supervisor, remove_packages=True)
        assert tables() == "" and cloud.root.is_dir()
        assert [entry.kind for entry in Ledger.of(cloud).entries()] == ["packages"]
        ended = False
        done = destroy(cloud, supervisor, remove_packages=True)
    assert ("undo", "remove 1 packages") in done.report.changes
    assert removed == [["nftables"]] and done.packages == () and not cloud.root.exists()


def test_the_cache_stays_for_others_or_when_asked(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path
) -> None:
    other = another(tmp_path)
    done = destroy(cloud, supervisor)
    assert done.others == ("other",) and done.cache
    assert not clouds.path_of(cloud, tmp_path / "cache").exists()
    done = destroy(other, supervisor, keep_cache=True)
    assert done.cache and (tmp_path / "cache").is_dir()


def test_what_clouds_share_goes_with_the_last(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path
) -> None:
    other = another(tmp_path)
    place, own = tmp_path / "shared", tmp_path / "own"
    for change in (
        *files.ensure_directory(place, ledger=Ledger.of(cloud), shared=True),
        *files.ensure_directory(own, ledger=Ledger.of(cloud)),
    ):
        change.do()
    destroy(cloud, supervisor)
    assert place.is_dir() and not own.exists()
    destroy(other, supervisor)
    assert not place.exists()


def test_a_cloud_that_is_just_going_inherits_nothing(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    other = another(tmp_path)
    clouds.hand_over(other, cache)
    assert clouds.others(cloud, cache) and not clouds.successor(cloud, cache)
    place = tmp_path / "shared"
    for change in files.ensure_directory(place, ledger=Ledger.of(cloud), shared=True):
        change.do()
    destroy(cloud, supervisor)
    assert not place.exists() and not Ledger.of(other).entries()
    # It stays after all: an `up` of it says so.
    (change,) = clouds.ensure_registered(other, cache)
    change.do()
    assert not clouds.removing(other, cache)


def test_a_cloud_that_comes_while_the_last_one_goes(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal of a cache takes seconds: a new one is begun meanwhile, and stays."""
    cache = tmp_path / "cache"
    (cache / "release").mkdir()

    def slowly(path: Path) -> None:
        if path.parent == tmp_path and path.name != "root":
            another(tmp_path)
        files.remove_tree(path)

    monkeypatch.setattr(teardown, "remove_tree", slowly)
    destroy(cloud, supervisor)
    assert [path.name for path in tmp_path.iterdir() if "cache" in path.name] == ["cache"]
    assert [path.name for path in (cache / "clouds").iterdir()] == ["other.json"]
    assert not (cache / "release").exists()


def test_nobody_is_kept_waiting_by_the_lock_of_all_clouds(cloud: Cloud, tmp_path: Path) -> None:
    clouds = tmp_path / "cache" / "clouds"
    # who cannot read it cannot lock it
    assert clouds.stat().st_mode & 0o777 == 0o700
    stopped = Run()
    stopped.stop.set()
    with (
        stopped.at_work(),
        locks.directory_lock(clouds),
        pytest.raises(Aborted),
        locks.directory_lock(clouds),
    ):
        raise AssertionError("two have the lock")


def another(tmp_path: Path) -> Cloud:
    return made(Cloud("other", tmp_path / "second"), tmp_path)


def test_what_comes_while_a_cloud_goes_is_undone_by_it(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is destroyed just before this one says that it is going."""
    other, place = another(tmp_path), tmp_path / "shared"
    for change in files.ensure_directory(place, ledger=Ledger.of(other), shared=True):
        change.do()
    hand_over = clouds.hand_over

    def late(this: Cloud, cache: Path) -> None:
        monkeypatch.setattr(clouds, "hand_over", hand_over)
        destroy(other, supervisor)
        assert place.is_dir() and [e.data["path"] for e in Ledger.of(this).entries()] == [
            str(place)
        ]
        hand_over(this, cache)

    monkeypatch.setattr(clouds, "hand_over", late)
    destroy(cloud, supervisor)
    assert not place.exists() and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("turn", range(5))
def test_clouds_destroyed_at_the_same_moment(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path, turn: int
) -> None:
    """Each in a process of its own, and each has something that is both's: nothing stays."""
    clouds = (cloud, another(tmp_path))
    places = [tmp_path / f"shared-by-{each.name}" for each in clouds]
    for each, place in zip(clouds, places, strict=True):
        for change in files.ensure_directory(place, ledger=Ledger.of(each), shared=True):
            change.do()
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(len(clouds))

    def work(each: Cloud) -> None:
        together.wait(30)
        destroy(each, supervisor)

    children = [fork.Process(target=work, args=(each,)) for each in clouds]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    left = [p for p in (*places, cloud.root, clouds[1].root, tmp_path / "cache") if p.exists()]
    assert left == []


def test_a_cloud_that_was_hardly_begun(supervisor: Supervisor, tmp_path: Path) -> None:
    cloud = Cloud("toy", tmp_path / "root")
    (cloud.run / "supervisor").mkdir(parents=True)
    destroy(cloud, supervisor)
    assert not cloud.root.exists()


def test_what_is_not_the_clouds_is_not_removed(supervisor: Supervisor, tmp_path: Path) -> None:
    cloud = Cloud("toy", tmp_path / "root")
    (cloud.root / "photos").mkdir(parents=True)
    with pytest.raises(OnestackError) as caught:
        destroy(cloud, supervisor)
    assert "photos" in caught.value.why
    assert (cloud.root / "photos").is_dir()


def test_what_cannot_be_undone_keeps_the_ledger(
    cloud: Cloud, supervisor: Supervisor, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    Ledger.of(cloud).record("file", path=str(place))  # a directory: unlink fails
    with pytest.raises(OnestackError):
        destroy(cloud, supervisor)
    assert len(Ledger.of(cloud).entries()) == 1
    place.rmdir()
    destroy(cloud, supervisor)
    assert not cloud.root.exists()


def test_processes_left_by_a_killed_supervisor_are_ended(
    cloud: Cloud, supervisor: Supervisor
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={**os.environ, proc.ROOT_VARIABLE: str(cloud.root)},
        start_new_session=True,
    )
    done = destroy(cloud, supervisor)
    assert ("leftovers", "end 1 processes that were left running") in done.report.changes
    assert child.wait(10) != 0


def test_a_dry_run_says_what_would_go(cloud: Cloud, supervisor: Supervisor) -> None:
    supervisor.up = True
    done = teardown.destroy(
        cloud,
        supervisor,
        dry_run=True,
        cache=cloud.root.parent / "cache",
    )
    whats = [what for _, what in done.report.changes]
    assert "stop all processes and the supervisor" in whats
    assert f"remove {cloud.root}" in whats
    assert cloud.root.is_dir() and supervisor.up


def test_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(unit, "run", lambda argv, **_: ran.append(" ".join(argv)))
    ctx = context(tmp_path / "ctx")
    units = tmp_path / "units"
    (units / "multi-user.target.wants").mkdir(parents=True)
    ledger = Ledger.of(ctx.cloud)
    for change in unit.ensure_unit(ctx, ledger, units):
        change.do()
    path = units / "onestack-toy.service"
    assert ran == ["systemctl daemon-reload", "systemctl enable onestack-toy.service"]
    assert "--start-all" in path.read_text()
    assert [(e.kind, e.data) for e in ledger.entries()] == [("unit", {"path": str(path)})]
    (units / "multi-user.target.wants" / path.name).symlink_to(path)
    assert list(unit.ensure_unit(ctx, ledger, units)) == []
    undo(ledger.entries()[0], undos())
    assert not path.exists()


def test_at_boot_a_namespace_has_the_address_that_the_cloud_is_to_have(tmp_path: Path) -> None:
    ctx = context(tmp_path / "ctx")
    there = dataclasses.replace(ctx, cloud=dataclasses.replace(ctx.cloud, netns="toys"))
    wanted = {netns.PUBLIC_ADDRESS, ctx.public}
    lines = [line for line in unit.unit_text(there).splitlines() if "address replace" in line]
    assert {line.split()[-3] for line in lines} == {f"{address}/32" for address in wanted}
