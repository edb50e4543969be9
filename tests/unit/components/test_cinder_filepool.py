"""The volume driver, in the services' environment and as an unprivileged user, on a real pool."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import onestack
from onestack.components.cinder import Cinder
from onestack.host.files import uid_of
from onestack.kernel import proc
from onestack.model.cloud import Cloud
from onestack.storage import pool
from onestack.storage.store import StoreRecord
from tests.support.nbd import ADDRESS, Authority, needs_daemon, server
from tests.support.needs import needs_root, needs_services, services_python
from tests.unit.components.rooms import context
from tests.unit.supervise.bench import Bench

USER = "daemon"
TRIALS = Path(__file__).with_name("cinder_filepool_trials.py")


pytestmark = [
    pytest.mark.timeout(900),  # seconds of a processor for each header of an encrypted volume
    needs_root,
    needs_services,
]

Trials = Callable[..., dict[str, dict[str, str]]]
SIMPLE = (
    "follows_cinders_interface",
    "life_of_a_volume",
    "volumes_grow_in_use",
    "snapshots_and_clones",
    "nobody_reads_what_was_deleted",
    "the_pool_is_never_overdrawn",
    "a_volume_that_is_cut_keeps_its_room",
    "what_is_copied_beside_counts",
    "a_full_pool_is_still_served",
    "reverts_are_whole",
    "only_what_was_left_is_swept",
    "what_was_interrupted_ends_at_the_start",
    "a_start_ends_what_was_interrupted",
    "what_waited_is_not_done_again",
    "retypes_and_moves",
    "files_of_the_folder_are_managed",
    "a_backup_without_room_ends",
    "a_backup_that_fails_ends",
    "a_users_container_is_a_folder_of_the_projects",
    "images",
    "images_are_looked_at_without_privileges",
    "connections_are_local_files",
    "unmounted_is_noticed",
)
ENCRYPTED = (
    "volumes_are_encrypted",
    "images_become_encrypted_volumes",
    "what_cannot_be_encrypted_is_told",
)
SERVED = (
    "volumes_are_served_to_other_hosts",
    "what_is_not_served_is_told",
    "what_is_replaced_is_served_no_more",
    "what_stays_is_ended_later",
    "nobody_waits_for_a_daemon_that_is_dead",
)
GIVEN_AWAY = "volume-given-away"


@pytest.fixture(scope="module")
def place() -> Iterator[pool.Pool]:
    root = Path(tempfile.mkdtemp(prefix="pool-", dir="/var/tmp"))
    root.chmod(0o755)
    cloud = Cloud("drivertest", root)
    cloud.etc.mkdir()
    one = pool.Pool.at(cloud.root)
    # Not by `ensure`, which asks for a disk that could hold it all.
    one.home.mkdir(parents=True)
    one.file().make(pool.image_size(60 << 30), pool.KIND)
    one.save(StoreRecord(60 << 30, "xfs", USER))
    one.attach()
    # The checkout may lie where the user cannot read it.
    shutil.copytree(Path(onestack.__file__).parent, root / "program" / "onestack", symlinks=True)
    shutil.copy(TRIALS, root / "program")
    yield one
    assert one.detach() == []
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def supervisor(place: pool.Pool) -> Iterator[None]:
    """It is asked what cinder asks of sudo."""
    bench = Bench(place.root)
    commands = Cinder().root_commands(context(place.root, Cinder()))
    bench.launch(
        preload=(), root_commands={USER: tuple(c for own in commands.values() for c in own)}
    )
    yield
    bench.client.shutdown()


@pytest.fixture(scope="module")
def trials(place: pool.Pool, supervisor: None) -> Trials:
    def run(*names: str, served: str = "") -> dict[str, dict[str, str]]:
        program = place.root / "program"
        helper = program / "onestack" / "runtime" / "in_place_of_sudo"
        words = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]
        words += [str(services_python()), "-W", "ignore", str(program / TRIALS.name)]
        scratch = Path(tempfile.mkdtemp(dir=place.root))
        os.chown(scratch, uid_of(USER), -1)
        done = subprocess.run(
            [*words, str(place.directory), str(place.record), str(scratch), *names],
            env={
                "PATH": f"{helper}:/usr/bin:/bin",
                proc.ROOT_VARIABLE: str(place.root),
                "PYTHONPATH": str(program),
                "HOME": str(place.root),
                **({"SERVED": served} if served else {}),
            },
            capture_output=True,
            text=True,
            timeout=800,
        )
        shutil.rmtree(scratch)
        assert done.returncode == 0, done.stderr
        outcome: dict[str, dict[str, str]] = json.loads(done.stdout)
        return outcome

    return run


def volumes(place: pool.Pool) -> list[str]:
    return [p.name for p in place.directory.iterdir() if p.name not in (pool.MARKER, "import")]


@pytest.fixture(scope="module")
def simple(trials: Trials) -> dict[str, dict[str, str]]:
    """All of them in one process: importing cinder takes longer than they do."""
    return trials(*SIMPLE)


@pytest.fixture(scope="module")
def encrypted(trials: Trials) -> dict[str, dict[str, str]]:
    return trials(*ENCRYPTED)


@pytest.mark.parametrize("name", ENCRYPTED)
def test_encrypted_volumes(
    encrypted: dict[str, dict[str, str]], place: pool.Pool, name: str
) -> None:
    assert "trouble" not in encrypted[name], encrypted[name]["trouble"]
    assert volumes(place) == []


@pytest.mark.parametrize("name", SIMPLE)
def test_driver(simple: dict[str, dict[str, str]], place: pool.Pool, name: str) -> None:
    assert "trouble" not in simple[name], simple[name]["trouble"]
    assert volumes(place) == []


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed")
def test_several_servers_have_a_volume(trials: Trials, place: pool.Pool) -> None:
    name = "several_servers_have_a_volume"
    assert "trouble" not in (found := trials(name)[name]), found
    assert volumes(place) == []


@needs_daemon
def test_volumes_are_served_to_other_hosts(trials: Trials, place: pool.Pool) -> None:
    """By a real daemon, to real clients of QEMU's, as web1 shows itself."""
    home = Path(tempfile.mkdtemp(dir=place.root))
    home.chmod(0o755)
    exports = home / "exports"
    exports.mkdir()
    os.chown(exports, uid_of(USER), -1)
    authority = Authority(home / "tls")
    subject, identity = "volumes:id-of-web1", "id-of-web1"
    own = authority.signed("web1", subject)[0]
    shutil.copytree(own, home / "web1")
    tls = authority.signed("controller", "volumes:controller")[0]
    with server(home, exports, identity, tls, f"CN={subject}") as made:
        made.monitor.chmod(0o777)
        known = {
            "web1": {"identity": identity, "port": made.port, "monitor": str(made.monitor)},
            "web2": {"identity": "id-of-web2", "port": 9, "monitor": str(home / "nobody")},
        }
        (home / "hosts.json").write_text(json.dumps({"address": ADDRESS, "hosts": known}))
        for name, found in trials(*SERVED, served=str(home)).items():
            assert "trouble" not in found, (name, found["trouble"], made.log.read_text())
    assert volumes(place) == []
    shutil.rmtree(home)


@pytest.mark.parametrize("owner", ["root", "games"])
def test_volumes_after_libvirt_had_them(trials: Trials, place: pool.Pool, owner: str) -> None:
    """libvirt gives a file to QEMU's user at attach and, when it lost track, to root at detach."""
    assert "trouble" not in (made := trials("make_for_libvirt")["make_for_libvirt"]), made
    os.chown(place.directory / GIVEN_AWAY, uid_of(owner), 0)
    assert "trouble" not in (used := trials("use_after_libvirt")["use_after_libvirt"]), used
    assert volumes(place) == []


def test_large_volumes_and_copies_are_instant(trials: Trials) -> None:
    """Prints the figures (milliseconds); only that they are there is asserted."""
    outcome = trials("measure")["measure"]
    print(outcome)
    assert "create 50 GiB" in outcome["figures"]
