"""Commands that the supervisor runs as root for services: which, for whom, and their lives."""

from __future__ import annotations

import importlib.machinery
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest

from onestack.kernel import proc
from onestack.model.process import Roster
from onestack.model.root_command import ANY, Refused, RootCommand, chosen
from onestack.supervise.privsep import peer_of
from onestack.supervise.states import State
from tests.unit.supervise.bench import SOURCE, Bench, needs_root, toy, until

RUNTIME = SOURCE / "onestack" / "runtime"
HELPER = RUNTIME / "root-helper"
SUDO = RUNTIME / "in_place_of_sudo" / "sudo"
REFUSED = 126
SHELL = RootCommand(("sh", "-c"), rest=ANY)
ITSELF = RootCommand(("rootwrap", "/[a-z/]+", ANY), rest=ANY, leading=2, as_root=False)


def wrong(text: str, *allowed: RootCommand) -> str:
    try:
        chosen(text.split(), allowed)
    except Refused as refused:
        return str(refused)
    return ""


def test_words_are_matched_as_a_whole() -> None:
    one = RootCommand(("ip", "link|addr"), rest="[a-z]+")
    assert wrong("ip link show", one) == ""
    assert wrong("ip link", one) == ""
    assert wrong("ip links", one) == "'links' stands there where link|addr is allowed"
    assert wrong("ip", one) == "nothing follows where link|addr is allowed"
    assert wrong("ip addr show ../x", one) == "'../x' may not follow"
    assert wrong("ip addr show", RootCommand(("ip", "addr"))) == "'show' may not follow"
    assert wrong("ip addr", *()) == "no command is allowed"


def test_the_reason_is_that_of_the_nearest() -> None:
    first, second = RootCommand(("mount",)), RootCommand(("ip", "addr"))
    assert "addr" in wrong("ip link", first, second)
    assert chosen(["mount"], (second, first)) is first


def test_the_roster_keeps_them() -> None:
    noted = RootCommand(("a",), environment=("X=.",), notes="/n", noted=1, settings=("A=b",))
    commands: dict[str, tuple[RootCommand, ...]] = {"nobody": (SHELL, noted)}
    roster = Roster("a", "/a", None, (), (), root_commands=commands)
    assert Roster.from_json(roster.to_json()).root_commands == commands


@pytest.fixture
def cloud(bench: Bench) -> Bench:
    notes = bench.root / "notes"
    notes.mkdir()
    noted = RootCommand(("true", r"[a-z./]+"), notes=str(notes), noted=1)
    nowhere = RootCommand(("no-such-program",))
    settled = RootCommand(("env",), settings=("SETTING=a=b",))
    allowed = (SHELL, noted, nowhere, settled, ITSELF)
    bench.launch(toy("one"), root_commands={"nobody": allowed})
    return bench


def ask(
    cloud: Bench, *command: str, user: str = "nobody", helper: Path = HELPER, **more: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [helper, *command],
        capture_output=True,
        text=True,
        env={proc.ROOT_VARIABLE: str(cloud.root), "PATH": os.environ["PATH"], "SECRET": "x"},
        user=user,
        group=pwd.getpwnam(user).pw_gid,
        extra_groups=(),
        timeout=30,
        check=False,
        **more,
    )


@needs_root
def test_a_command_runs_as_root_with_the_askers_files(cloud: Bench) -> None:
    done = ask(cloud, "sh", "-c", "id -u; cat; echo no >&2; umask; pwd; exit 3", input="hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "0\nhello\n0022\n/\n", "no\n")
    assert "of nobody has run: sh -c" in cloud.log("supervisor")
    assert "exited with 3" in cloud.log("supervisor")
    assert ask(cloud, "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


@needs_root
def test_its_environment_is_made_from_nothing(cloud: Bench) -> None:
    values = dict(line.split("=", 1) for line in ask(cloud, "sh", "-c", "env").stdout.splitlines())
    assert "SECRET" not in values
    assert values["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    assert values["LC_ALL"] == "C"
    # The cloud's, and no process's of its roster.
    assert values[proc.ROOT_VARIABLE] == str(cloud.root)
    assert values[proc.PROCESS_VARIABLE] == "root-broker"


@needs_root
def test_what_it_is_run_with_is_not_the_askers_to_choose(cloud: Bench) -> None:
    assert "SETTING=a=b" in ask(cloud, "env").stdout.splitlines()
    assert "SETTING" not in ask(cloud, "sh", "-c", "env").stdout


@needs_root
def test_nothing_of_the_supervisors_is_open_in_it(cloud: Bench) -> None:
    look = "i=3; while [ $i -lt 400 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done"
    assert ask(cloud, "sh", "-c", look).stdout == ""


@needs_root
def test_refusals_reach_the_caller_and_the_log(cloud: Bench) -> None:
    done = ask(cloud, "id")
    assert done.returncode == REFUSED
    assert "'id' stands there where sh is allowed" in done.stderr
    assert "of nobody was refused: 'id' stands there" in cloud.log("supervisor")
    assert ask(cloud).returncode == REFUSED


@needs_root
@pytest.mark.parametrize("user", ["daemon", "root"])
def test_another_user_is_refused(cloud: Bench, user: str) -> None:
    done = ask(cloud, "sh", "-c", "id", user=user)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert f"the user {user} may not ask for commands" in done.stderr


@needs_root
def test_what_is_touched_is_noted_before(cloud: Bench) -> None:
    notes = cloud.root / "notes"
    assert ask(cloud, "true", "space").returncode == 0
    assert [file.name for file in notes.iterdir()] == ["space"]
    for name in ("../etc", ".hidden", "a/b"):
        assert ask(cloud, "true", name).returncode == REFUSED
    assert [file.name for file in notes.iterdir()] == ["space"]


@needs_root
def test_a_program_that_is_not_there(cloud: Bench) -> None:
    done = ask(cloud, "no-such-program")
    assert done.returncode == REFUSED
    assert "no-such-program could not be started: /bin/no-such-program: No such" in done.stderr


@needs_root
def test_what_needs_no_privileges_runs_as_the_asker(cloud: Bench) -> None:
    """By the name of sudo; in the very process, so that its limits and its end are the asker's."""
    program = "import os; print(os.getpid(), os.getuid(), os.environ['SECRET'])"
    with subprocess.Popen(
        [SUDO, "rootwrap", "/etc/wrap", "/usr/bin/python3", "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={proc.ROOT_VARIABLE: str(cloud.root), "SECRET": "kept"},
        user="nobody",
    ) as asking:
        out, _ = asking.communicate(timeout=30)
    assert out.split() == [str(asking.pid), str(pwd.getpwnam("nobody").pw_uid), "kept"]
    refused = ask(cloud, "id", helper=SUDO)
    assert (refused.returncode, refused.stdout) == (REFUSED, "")
    assert ask(cloud, "rootwrap", "/etc/wrap", "no-such", helper=SUDO).returncode == 127


@needs_root
def test_a_command_outlives_its_asker_and_its_process_but_not_the_cloud(cloud: Bench) -> None:
    cloud.client.start()
    file = cloud.root / "pid"
    with subprocess.Popen(
        [HELPER, "sh", "-c", f"echo $$ >{file}; exec sleep 60"],
        env={proc.ROOT_VARIABLE: str(cloud.root)},
        user="nobody",
    ) as asking:
        pid = int(until(lambda: file.exists() and file.read_text()))
        asking.kill()
    entry = proc.stat(pid)
    assert entry and entry.session == pid
    # What left its session and its parent, as daemons do.
    ask(cloud, "sh", "-c", f"setsid sleep 60 >/dev/null 2>&1 & echo $! >{file}")
    daemon = int(until(file.read_text))
    cloud.until_state("one", State.READY)
    cloud.client.restart(["one"])
    cloud.until_state("one", State.READY)
    cloud.client.stop()
    assert proc.alive(pid) and proc.alive(daemon)
    cloud.client.shutdown()
    assert not proc.alive(pid) and not proc.alive(daemon)
    assert not (cloud.root / "run" / "supervisor" / "root.sock").exists()


@needs_root
@pytest.mark.parametrize("waits", [True, False])
def test_what_nobody_waits_for_any_more_is_not_begun(bench: Bench, waits: bool) -> None:
    """The supervisor was held up, and its asker has given up meanwhile."""
    bench.launch(root_commands={"root": (SHELL,)})
    place, file = bench.root / "run" / "supervisor" / "root.sock", bench.root / "begun"
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(place))
        supervisor = peer_of(asking).pid
        os.kill(supervisor, signal.SIGSTOP)
        request = json.dumps(["sh", "-c", f"echo >{file}"]).encode() + b"\n"
        socket.send_fds(asking, [request], [0, 1, 2])
        if waits:
            asking.shutdown(socket.SHUT_WR)  # it has nothing more to say
        else:
            asking.close()
        os.kill(supervisor, signal.SIGCONT)
        if waits:
            assert json.loads(asking.makefile().readline()) == {"code": 0}
    word = "has run" if waits else "is gone, and has not run"
    until(lambda: f"{word}: sh -c" in bench.log("supervisor"))
    assert file.exists() == waits


@needs_root
def test_who_says_nothing_holds_nobody_up(cloud: Bench) -> None:
    place = str(cloud.root / "run" / "supervisor" / "root.sock")
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o666
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as half:
        silent.connect(place)
        half.connect(place)
        half.send(b'["sh", ')
        waiting = subprocess.Popen(
            [HELPER, "sh", "-c", "sleep 30"],
            env={proc.ROOT_VARIABLE: str(cloud.root)},
            user="nobody",
        )
        assert ask(cloud, "sh", "-c", "echo here").stdout == "here\n"
        assert waiting.poll() is None
        waiting.kill()
        waiting.wait()


@needs_root
@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{\n", "no command"),
        (b'"sh"\n', "no command"),
        (b"[]\n", "no command"),
        (b'["sh", 1]\n', "no command"),
        (b'["sh", "-c", "a\\u0000b"]\n', "NUL"),
        (b'["sh", "-c", "id"]\n', "three open files"),
    ],
)
def test_what_is_no_request(bench: Bench, line: bytes, why: str) -> None:
    bench.launch(root_commands={"root": (SHELL,)})
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(bench.root / "run" / "supervisor" / "root.sock"))
        asking.send(line)
        assert why in json.loads(asking.makefile().readline())["refused"]


@needs_root
def test_a_new_roster_counts_at_once(cloud: Bench) -> None:
    cloud.load(toy("one"), root_commands={"nobody": (RootCommand(("id",)),)})
    assert ask(cloud, "id").returncode == 0
    assert ask(cloud, "sh", "-c", "id").returncode == REFUSED


def test_nobody_there_is_said(tmp_path: Path) -> None:
    for environment in ({proc.ROOT_VARIABLE: str(tmp_path)}, {}):
        done = subprocess.run(
            [HELPER, "ip"], env=environment, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == REFUSED
        assert "the supervisor, which runs commands as root, is away" in done.stderr


def test_an_answer_that_comes_at_once_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor has closed the connection by then: to send nothing more had failed."""
    loader = importlib.machinery.SourceFileLoader("root_helper", str(HELPER))
    helper = types.ModuleType("root_helper")
    loader.exec_module(helper)
    ours, theirs = socket.socketpair()

    class Asking(socket.socket):
        def __init__(self, family: int) -> None:
            super().__init__(fileno=ours.detach())

        def connect(self, place: object) -> None:
            pass

        def sendmsg(self, *words: Any) -> int:
            sent = super().sendmsg(*words)
            theirs.recv(4096)
            theirs.sendall(b'{"code": 3}\n')
            theirs.close()
            return sent

    monkeypatch.setattr(socket, "socket", Asking)
    assert helper.main(["true"]) == 3
