"""What goes wrong, on a real machine: each time a clear error, and a later up mends it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clouds import LAUNCHER, CloudUnderTest, run, wait_until

SCHEMAS = Path("/var/cache/onestack/schemas")
CACHE = SCHEMAS.parent
OPENVSWITCH = ("CONFIG_NEUTRON_L2_AGENT=openvswitch",)
NAME = os.environ.get("ONESTACK_TEST_NAME", "bad")


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudUnderTest]:
    made = CloudUnderTest(NAME, answers=OPENVSWITCH)
    yield made
    made.destroy()


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Everything it said; never a traceback."""
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    return text


def refused(script: str, *unshared: str, name: str = "lost", more: str = "") -> str:
    """Run ``script`` and then `up` in namespaces of their own: what it says when it refuses.

    Nothing has been made by then.
    """
    up = f"exec {LAUNCHER} up --name {name} --netns --set {OPENVSWITCH[0]} {more}"
    done = run(["unshare", *unshared, "sh", "-e", "-c", f"{script}\n{up}"], expect=3)
    assert not Path(f"/var/lib/onestack-{name}").exists()
    assert f"onestack-{name}" not in run(["getent", "passwd"]).stdout
    return told(done)


def test_mistyped_key_touches_nothing() -> None:
    done = run(
        [str(LAUNCHER), "up", "--name", "typo", "--netns", "--set", "CONFIG_CINDER_VOLUME_SIZE=5G"],
        expect=2,
    )
    assert "CONFIG_CINDER_VOLUMES_SIZE" in told(done)
    assert not Path("/var/lib/onestack-typo").exists()
    assert "onestack-typo" not in run(["ip", "netns"]).stdout


def test_all_findings_together_before_anything_is_changed() -> None:
    """Two ports taken (by whom), no room, a hostname nobody knows: each with what mends it."""
    listen = (
        "import socket, time\n"
        "found = [socket.socket() for _ in range(2)]\n"
        "[s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1) for s in found]\n"
        "[s.bind(('0.0.0.0', p)) for s, p in zip(found, (5000, 8774))]\n"
        "[s.listen() for s in found]\n"
        "print('here', flush=True)\n"
        "time.sleep(300)\n"
    )
    small = Path("/var/tmp/onestack-small")  # a root may not be long
    run(["ip", "netns", "add", "onestack-lost"])
    run(["ip", "-n", "onestack-lost", "link", "set", "lo", "up"])
    squatter = subprocess.Popen(
        ["ip", "netns", "exec", "onestack-lost", "/usr/bin/python3", "-c", listen],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert squatter.stdout and squatter.stdout.readline().strip() == "here"
        small.mkdir(exist_ok=True)
        text = refused(
            f"hostname nobody-knows\nmount -t tmpfs -o size=100m none {small}",
            *("--uts", "--mount"),
            more=f"--root {small}/cloud",
        )
    finally:
        squatter.kill()
        squatter.wait()
        run(["ip", "netns", "delete", "onestack-lost"])
        small.rmdir()
    why, cure = text.split("cure:")
    assert "4 things" in why
    for port in (5000, 8774):
        assert f"port {port}" in why
    assert str(squatter.pid) in why and f"kill {squatter.pid}" in cure
    assert "'nobody-knows' does not resolve" in why and "/etc/hosts" in cure
    assert f"free on {small}" in why and f"du -xh -d2 {small}" in cure


@pytest.mark.parametrize("empty", [True, False])
def test_a_full_cache(tmp_path: Path, empty: bool) -> None:
    """No room in /var/cache, with nothing in it yet, or all that is needed."""
    here = tmp_path / "cache"
    here.mkdir()
    keep = "" if empty else 'mkdir "$to"; mount --bind "$from" "$to"'
    text = refused(
        f"""mount --bind {CACHE} {here}
        mount -t tmpfs -o size=4m none {CACHE}
        for from in {here}/*/; do to={CACHE}/$(basename $from); {keep or ":"}; done
        cat /dev/zero > {CACHE}/full 2>/dev/null || :""",
        "--mount",
    )
    assert f"free on {CACHE}" in text and f"du -xh -d2 {CACHE}" in text


def test_a_mirror_out_of_reach(tmp_path: Path) -> None:
    """One thing is left to be fetched, and no name resolves."""
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={CACHE},upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    text = refused(
        f"mount -t overlay overlay -o {layers} {CACHE}\nrm -r {CACHE}/novnc",
        *("--mount", "--net"),
    )
    assert "the package mirror http" in text
    assert "fetch the noVNC pages" in text and "apt-get update" in text


def test_no_network(tmp_path: Path) -> None:
    """With the package index out of reach and nothing installed: refused, nothing made."""
    environment = dict(os.environ) | {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    }
    copy = tmp_path / "checkout"
    shutil.copytree(
        LAUNCHER.parent, copy, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv*")
    )
    done = run(
        [str(copy / "onestack"), "up", "--name", "nonet", "--netns"],
        expect=None,
        env=environment,
    )
    assert done.returncode in (1, 3)
    assert "index" in told(done)
    assert not Path("/var/lib/onestack-nonet").exists()


def test_mariadb_killed_during_migrations(cloud: CloudUnderTest) -> None:
    """Its database is half migrated then; the next up begins it anew."""
    for kept in SCHEMAS.glob("*/nova*.sql"):
        kept.unlink()
    words = [str(LAUNCHER), "up", "--name", cloud.name, *cloud.up_words()]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )

    def migrating() -> int | None:
        logs = list((cloud.root / "log").glob("database-nova*.log"))
        if any("Running upgrade" in log.read_text(errors="replace") for log in logs):
            found = [p for p in cloud.status() if p["name"] == "mariadb"]
            return int(found[0]["pid"]) if found and found[0]["pid"] else None
        return None

    pid = wait_until("a migration", migrating, 300, 0.1)
    os.kill(pid, signal.SIGKILL)
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 1, text
    assert "Traceback (most recent call last)" not in text.split("why:")[0]
    # by a migration that had a connection, or one that was just to have one
    told = ("the database server ended meanwhile", "the database server does not answer")
    assert any(words in text for words in told) and "onestack logs mariadb" in text, text
    cloud.up()
    assert {p["state"] for p in cloud.status()} == {"READY"}
    assert "compute" in cloud.type("openstack catalog list")


def test_a_service_that_exits_at_once(cloud: CloudUnderTest) -> None:
    """The error shows its last log lines and the likely cause; up mends it afterwards."""
    cloud.up()
    config = cloud.root / "etc" / "placement" / "placement.conf"
    config.write_text(config.read_text().replace("mysql+pymysql", "mysql+nonsense"))
    done = cloud.onestack("restart", "placement", expect=1, timeout=300)
    assert "placement-api is not ready" in done.stderr
    # sqlalchemy's own words, from the service's log
    assert "Can't load plugin" in done.stderr and "mysql.nonsense" in done.stderr
    assert "cure:" in done.stderr
    assert "restart placement-api" not in cloud.onestack("up", "--dry-run").stdout
    cloud.up()
    assert {p["state"] for p in cloud.status()} == {"READY"}


def fill(folder: Path) -> None:
    """Take all space there is: in files of 256 MiB, then smaller ones; nothing is written."""
    folder.mkdir()
    numbers = itertools.count()
    for size in (256 << 20, 16 << 20, 1 << 20, 64 << 10, 4 << 10):
        with contextlib.suppress(OSError):
            while True:
                with (folder / str(next(numbers))).open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, size)


def test_full_disk_during_up() -> None:
    """On a disk that fills while the cloud is made: clear error; after room is made, up goes on."""
    image, place = Path("/var/tmp/onestack-full.img"), Path("/var/tmp/onestack-full")
    place.mkdir(exist_ok=True)
    run(["truncate", "-s", "8G", str(image)])
    run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)])
    run(["mount", "-o", "loop", str(image), str(place)])
    filler = place / "filler"
    root = ["--name", "full", "--root", str(place / "cloud")]
    answers = ["--set", OPENVSWITCH[0], "--set", "CONFIG_CINDER_VOLUMES_SIZE=1G"]
    up = [str(LAUNCHER), "up", *root, "--netns", *answers]
    process = subprocess.Popen(up, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until("the cloud's files", (place / "cloud" / "etc" / "roster.json").exists, 120, 0.05)
        fill(filler)
        text, _ = process.communicate(timeout=600)
        assert process.returncode == 1, text
        assert "full" in text or "space" in text, text
        shutil.rmtree(filler)
        run(up, timeout=900)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(filler, ignore_errors=True)
        run([str(LAUNCHER), "destroy", *root, "--yes", "--keep-cache"])
        wait_until(
            "nobody in it", lambda: run(["umount", str(place)], expect=None).returncode == 0, 30
        )
        image.unlink()
        place.rmdir()
