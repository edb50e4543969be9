"""Commands in network namespaces, as root: which are run, for whom, and how they answer."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.components.neutron.inside import as_root, spawner
from onestack.kernel import proc
from tests.support.needs import needs_root

HERE = Path(spawner.__file__).parent
ID = "0f2a1b3c-1111-2222-3333-444455556666"
TAG = f"PROCESS_TAG=dnsmasq-{ID}"


def test_the_mark_is_the_supervisors() -> None:
    assert spawner.MARK == proc.ROOT_VARIABLE


@pytest.mark.parametrize(
    "command",
    [
        f"ip netns exec qdhcp-{ID} env {TAG} dnsmasq --no-hosts",
        f"ip netns exec qrouter-{ID} env PROCESS_TAG=haproxy-{ID} haproxy -f x",
        f"ip netns exec ovnmeta-{ID} haproxy -f x",
    ],
)
def test_what_upstream_starts_is_allowed(command: str) -> None:
    assert spawner.refusal(command.split()) is None


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("dnsmasq", "network namespaces"),
        ("", "network namespaces"),
        ("ip netns exec", "no network namespace"),
        ("ip netns exec mine sh", "no network namespace"),
        (f"ip netns exec qdhcp-{ID}/../x dnsmasq", "no network namespace"),
        (f"ip netns exec qdhcp-{ID} sh -c id", "none of"),
        (f"ip netns exec qdhcp-{ID} env LD_PRELOAD=x dnsmasq", "LD_PRELOAD"),
        (f"ip netns exec qdhcp-{ID} env {TAG} /tmp/dnsmasq", "none of"),
        (f"ip netns exec qdhcp-{ID}", "none of"),
    ],
)
def test_nothing_else_is(command: str, why: str) -> None:
    assert why in (spawner.refusal(command.split()) or "")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """The program at work, its socket and its notes, for the user ``nobody``."""
    # the user must be able to get there
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        if folder.owner() == pwd.getpwuid(os.getuid()).pw_name:
            folder.chmod(0o755)
    (tmp_path / "notes").mkdir()
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "door"))
    door.listen()

    def hand_over() -> None:
        os.dup2(door.fileno(), 3)

    running = subprocess.Popen(
        [sys.executable, "-IS", HERE / "spawner.py", "nobody", tmp_path / "notes"],
        env={spawner.MARK: "/a/cloud", "PATH": os.environ["PATH"]},
        pass_fds=(3,),
        preexec_fn=hand_over,
    )
    wait_for_door(tmp_path)
    yield tmp_path
    running.kill()
    running.wait()
    door.close()


def ask(place: Path, *command: str, user: str = "nobody") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-IS", HERE / "as_root.py", place / "door", *command],
        capture_output=True,
        text=True,
        user=user,
        group=pwd.getpwnam(user).pw_gid,
        extra_groups=(),
        timeout=30,
        check=False,
    )


@needs_root
def test_refusals_reach_the_caller(place: Path) -> None:
    done = ask(place, "id")
    assert done.returncode == as_root.REFUSED
    assert "network namespaces" in done.stderr


@needs_root
def test_another_user_is_refused(place: Path) -> None:
    done = ask(place, "ip", "netns", "exec", f"qdhcp-{ID}", "dnsmasq", user="daemon")
    assert done.returncode == as_root.REFUSED
    # by the socket's mode; were it open, by the one who answers
    assert "away" in done.stderr or "may not ask" in done.stderr


@needs_root
def test_a_command_runs_in_its_namespace(place: Path) -> None:
    name = f"qdhcp-{uuid.uuid4()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        # dnsmasq reads its configuration from standard input, and says what is wrong with it
        done = ask(place, "ip", "netns", "exec", name, "dnsmasq", "--test", "--conf-file=/dev/null")
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    assert (done.returncode, done.stderr.strip()) == (0, "dnsmasq: syntax check OK.")
    assert [file.name for file in (place / "notes").iterdir()] == [name]


@needs_root
def test_a_failing_command_gives_its_code_and_words(place: Path) -> None:
    done = ask(place, "ip", "netns", "exec", f"qdhcp-{ID}", "dnsmasq")
    assert done.returncode not in (0, as_root.REFUSED)
    assert "Cannot open network namespace" in done.stderr


def wait_for_door(place: Path) -> None:
    """Until the program has said whose the socket is."""
    for _ in range(100):
        if (place / "door").stat().st_mode & 0o777 == 0o660:
            return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("the socket's mode was not set")


def test_nobody_there_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert as_root.main([str(tmp_path / "door"), "ip"]) == as_root.REFUSED
    assert "is away" in capfd.readouterr().err
