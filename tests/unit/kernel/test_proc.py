"""Who belongs to a cloud."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

from onestack.host import orphans
from onestack.kernel import proc
from tests.unit.supervise.bench import needs_root, until


@pytest.mark.parametrize(
    ("groups", "unit"),
    [
        ("0::/system.slice/rabbitmq-server.service\n", "rabbitmq-server.service"),
        ("0::/system.slice/docker.service\n", "docker.service"),
        ("0::/system.slice/system-pg.slice/pg@15.service\n", "pg@15.service"),
        # what has a place of its own there is somebody else's
        ("0::/system.slice/docker.service/payload\n", ""),
        ("0::/system.slice/docker-0123abcd.scope\n", ""),
        ("0::/system.slice/a.service/b.service\n", ""),
        ("0::/machine.slice/libpod-0123.scope/container\n", ""),
        ("12:pids:/user.slice/user-0.slice/session-1.scope\n0::/\n", ""),
        ("1:name=systemd:/system.slice/a.service\n0::/system.slice/a.service\n", "a.service"),
        ("5:devices:/system.slice/a.service\n1:name=systemd:/user.slice/x.scope\n", ""),
        # of a user, whose services have the names of the machine's
        ("0::/user.slice/user-1.slice/user@1.service/app.slice/dbus.service\n", ""),
        ("0::/user.slice/user-1.slice/user@1.service/app.slice/vte-spawn-1.scope\n", ""),
        ("0::/user.slice/user-1.slice/user@1.service/init.scope\n", ""),
        ("0::/init.scope\n", ""),
    ],
)
def test_the_unit_of_a_process(tmp_path: Path, groups: str, unit: str) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(groups)
    assert proc.unit_of(7, tmp_path) == unit
    assert proc.unit_of(8, tmp_path) == ""


def marked(pid: int) -> bool:
    return proc.ROOT_VARIABLE.encode() in proc.environment(pid)


@needs_root
def test_a_container_with_the_same_root_is_let_alone(tmp_path: Path) -> None:
    """Its processes are seen from outside, and are those of another cloud."""
    marks = [f"{proc.ROOT_VARIABLE}={tmp_path}", f"{orphans.MARK}=2.1"]
    sleep = ["env", *marks, "sleep", "60"]
    here = subprocess.Popen(sleep)
    container = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", *sleep])
    try:
        until(lambda: proc.children(container.pid))
        (there,) = proc.children(container.pid)
        for pid in (here.pid, there):
            until(functools.partial(marked, pid))
        assert proc.belonging(tmp_path) == {here.pid}
        found = orphans.orphans()
        assert here.pid in found and there not in found
    finally:
        for process in (here, container):
            process.kill()
            process.wait()


@pytest.mark.parametrize("mark", ["abc", "", "1", "abc.1", "9" * 5000 + ".1"])
def test_anybody_may_write_anything_into_the_mark(mark: str) -> None:
    with subprocess.Popen(["env", f"{orphans.MARK}={mark}", "sleep", "60"]) as stranger:
        until(lambda: proc.environment(stranger.pid).get(orphans.MARK.encode()) is not None)
        found = orphans.orphans()
        stranger.kill()
    assert stranger.pid not in found
