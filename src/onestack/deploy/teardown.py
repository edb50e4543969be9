"""The way back: ``down`` stops the cloud, ``destroy`` takes it off the machine.

Both work on what is there, so that a cloud made half way, or destroyed half
way, is no different. Neither needs the answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onestack.deploy.supervisor import SupervisorClient
from onestack.deploy.undo import undo_all, undos
from onestack.deploy.unit import stop_unit, unit_at_work, unit_path
from onestack.engine import timing
from onestack.engine.progress import Listener, Progress, tell
from onestack.engine.runner import Runner
from onestack.engine.step import RunReport, Step
from onestack.host import clouds
from onestack.host.files import remove_tree
from onestack.host.ledger import Ledger, LedgerEntry
from onestack.host.mounts import unmount
from onestack.host.orphans import end_orphans
from onestack.host.packages import PACKAGES, purge
from onestack.host.roots import LOST, foreign
from onestack.kernel import mounts, proc
from onestack.model.change import Change
from onestack.model.cloud import CACHE, Cloud, record_path
from onestack.model.errors import OnestackError


def down(
    cloud: Cloud,
    supervisor: SupervisorClient,
    *,
    listeners: Sequence[Listener] = (),
    dry_run: bool = False,
) -> RunReport:
    """Stop all processes in order, and the supervisor. Raises `OnestackError`."""
    runner = Runner(Progress(listeners), dry_run)
    try:
        runner.execute([_stop(cloud, supervisor)])
        return runner.report
    finally:
        if not dry_run and cloud.log.is_dir():
            timing.save(cloud.log, timing.of("down", runner.report))


@dataclass
class Destroyed:
    """What is left on purpose."""

    report: RunReport = field(default_factory=RunReport)
    packages: tuple[str, ...] = ()
    """Debian packages that were installed for the cloud and are still there."""
    cache: bool = False
    """Whether the cache is still there: other clouds use it, or it was asked for."""
    others: tuple[str, ...] = ()
    """Clouds that are still on the machine."""


def destroy(
    cloud: Cloud,
    supervisor: SupervisorClient,
    *,
    keep_cache: bool = False,
    remove_packages: bool = False,
    listeners: Sequence[Listener] = (),
    dry_run: bool = False,
    cache: Path = CACHE,
) -> Destroyed:
    """Stop the cloud, undo its ledger, remove its root.

    The last cloud of a machine takes the cache along, unless ``keep_cache``;
    packages stay unless ``remove_packages`` (never while there are other
    clouds). Raises `OnestackError`; what was undone until then stays undone.
    """
    work = _Destruction(cloud, Ledger.of(cloud), keep_cache, remove_packages, dry_run, cache)
    runner = Runner(Progress(listeners), dry_run)
    if not dry_run:
        end_orphans()
    runner.execute(
        [
            _stop(cloud, supervisor),
            Step("leftovers", "Processes left running", lambda: _leftovers(cloud), ("processes",)),
            Step("undo", "What was made outside the root", work.undo, ("leftovers",)),
            Step("files", "The cloud's files", work.remove, ("undo",)),
        ]
    )
    work.done.report = runner.report
    return work.done


class _Destruction:
    """What `destroy` does once nothing runs any more; ``done`` is what is left."""

    def __init__(
        self,
        cloud: Cloud,
        ledger: Ledger,
        keep_cache: bool,
        remove_packages: bool,
        dry_run: bool,
        cache: Path,
    ) -> None:
        self.cloud = cloud
        self.ledger = ledger
        self.keep_cache = keep_cache
        self.remove_packages = remove_packages
        self.dry_run = dry_run
        self.cache = cache
        self.done = Destroyed(others=tuple(clouds.others(cloud, cache)))

    def undo(self) -> Iterator[Change]:
        done, entries = self.done, self.ledger.entries()
        done.packages = tuple(
            sorted({n for e in entries if e.kind == PACKAGES for n in e.data["names"]})
        )
        if what := self._sharing(entries):
            yield Change(what, lambda: clouds.hand_over(self.cloud, self.cache))
            # Nobody can leave it anything from now on.
            entries = self.ledger.entries()
        going = self.remove_packages and done.packages and not done.others
        keep = (PACKAGES,) if going else ()
        if count := sum(entry.kind not in keep for entry in entries):
            yield Change(
                f"undo {count} things made outside {self.cloud.root}",
                lambda: undo_all(self.ledger, undos(), keep=keep, tell=tell),
            )
        # Undoing takes programs that came with them.
        if going:
            yield Change(f"remove {len(done.packages)} packages", self._purge)

    def _purge(self) -> None:
        purge(list(self.done.packages))
        self.done.packages = ()
        for entry in self.ledger.entries():
            if entry.kind == PACKAGES:
                self.ledger.forget(PACKAGES, **entry.data)

    def _sharing(self, entries: Sequence[LedgerEntry]) -> str:
        """What is to be said to other clouds before anything is undone, if it was not yet."""
        heir = clouds.successor(self.cloud, self.cache)
        if heir and any(entry.data.get("shared") for entry in entries):
            return f"leave what clouds share to the cloud {heir[0]!r}"
        return "" if clouds.removing(self.cloud, self.cache) else "note that the cloud is going"

    def remove(self) -> Iterator[Change]:
        done, cloud, cache = self.done, self.cloud, self.cache
        if cloud.root.exists():
            yield Change(f"remove {cloud.root}", lambda: _remove_root(cloud))
        done.others = tuple(clouds.others(cloud, cache))
        last = not (done.others or self.keep_cache)
        if clouds.path_of(cloud, cache).exists() or (last and cache.exists()):
            yield Change("strike the cloud off the list", self._strike)
        if done.others or self.keep_cache:
            done.cache = cache.exists()
        elif clouds.aside(cache) or self.dry_run:
            yield Change(f"remove {cache}", self._remove_cache)

    def _strike(self) -> None:
        self.done.others = tuple(clouds.unregister(self.cloud, self.keep_cache, self.cache))

    def _remove_cache(self) -> None:
        for place in clouds.aside(self.cache):
            remove_tree(place)


def _stop(cloud: Cloud, supervisor: SupervisorClient) -> Step:
    def stop() -> Iterator[Change]:
        if unit_at_work(cloud):
            yield Change(f"stop {unit_path(cloud).name}", lambda: stop_unit(cloud))
        if supervisor.running():
            yield Change("stop all processes and the supervisor", supervisor.shutdown)

    return Step("processes", "The cloud's processes", stop)


def _leftovers(cloud: Cloud) -> Iterator[Change]:
    """What a supervisor that was killed left running."""
    import os

    left = proc.belonging(cloud.root) - proc.ancestors(os.getpid())
    if left:
        yield Change(
            f"end {len(left)} processes that were left running",
            lambda: proc.end_leftovers(cloud.root),
        )


def _remove_root(cloud: Cloud) -> None:
    if strangers := foreign(cloud.root):
        raise OnestackError(
            f"{cloud.root} is not removed",
            f"it holds what no cloud has made: {', '.join(strangers)}",
            "move that away, then run the same command again",
        )
    for mount in mounts.within(cloud.root):
        # It may be a file system of its own.
        if mount.target != cloud.root:
            unmount(mount.target)
    # The name goes last: until then a cloud that is half removed can be destroyed by its name.
    identity = record_path(cloud.root)
    for place in [p for p in cloud.root.iterdir() if p not in (cloud.etc, cloud.root / LOST)]:
        remove_tree(place)
    if cloud.etc.is_dir():
        for place in [p for p in cloud.etc.iterdir() if p != identity]:
            remove_tree(place)
        remove_tree(cloud.etc)
    # A root that is a file system of its own stays as an empty directory.
    if not cloud.root.is_mount():
        cloud.root.rmdir()
