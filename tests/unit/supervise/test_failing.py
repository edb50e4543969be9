"""Processes that fail: backoff, giving up, sentences, last lines."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from onestack.kernel import disk
from onestack.model.errors import OnestackError
from onestack.model.process import ConnectProbe, FileProbe, HttpProbe
from onestack.supervise.states import State
from tests.support.small_disks import resize, small_disk
from tests.unit.supervise.bench import Bench, needs_root, program, toy, until

pytestmark = needs_root


def test_it_gives_up_and_says_all_of_it(bench: Bench) -> None:
    # without a probe it would count as ready where it takes half a second to fail
    never = FileProbe(str(bench.root / "never"))
    client = bench.launch(toy("bad", "crash", probe=never), toy("above", needs=("bad",)))
    client.start()
    with pytest.raises(OnestackError) as caught:
        client.wait(
            ["above"],
            seconds=10,
            explain=lambda component, text: f"{component}: the door" if "door" in text else None,
        )
    assert caught.value.what == "bad is not ready"
    sentence, line = caught.value.why.splitlines()
    assert re.fullmatch(
        r"given up: exited with 3 after 0\.\d s, 5 times in a row: cannot open the door", sentence
    )
    assert line == "  cannot open the door"
    assert caught.value.cure == "toys: the door"
    assert bench.status("bad").state is State.FATAL
    assert bench.status("bad").restarts == 4
    assert re.search(
        r"bad: exited with 3 after 0\.\d s, third time, next try in 0\.2 s: cannot open the door",
        bench.log("supervisor"),
    )
    # an explicit start is a new chance
    client.start(["bad"])
    assert bench.status("bad").state is not State.FATAL


def test_it_comes_back_by_itself(bench: Bench) -> None:
    spec = toy("c", "crash_until", arguments={"count": str(bench.root / "n"), "failures": 2})
    client = bench.launch(spec)
    client.start()
    client.wait(seconds=10)
    assert bench.status("c").restarts == 2
    assert "RuntimeError: try 2 failed" in bench.log("c")
    pid = bench.status("c").pid
    assert pid
    os.kill(pid, signal.SIGSEGV)
    until(lambda: bench.status("c").pid not in (pid, None))
    assert "killed by SIGSEGV after" in bench.log("supervisor")


def failures(bench: Bench) -> list[str]:
    """What the supervisor said of each after which it goes on."""
    return [line for line in bench.log("supervisor").splitlines() if "time, next try in" in line]


def test_a_full_disk_passes(bench: Bench) -> None:
    """Nothing is given up meanwhile, nor for failing once more when there is room."""
    room = disk.FULL >> 20
    with small_disk(bench.root, room // 2):
        bench.hurry()
        there = bench.root / "there"
        bench.launch(toy("c", "crash_until_there", arguments={"file": str(there)})).start()
        until(lambda: len(failures(bench)) >= 5, 20)
        assert f"and the disk with {bench.root} is full, fifth time" in failures(bench)[4]
        resize(bench.root, 2 * room)
        there.touch()
        # The first of two more may have begun before.
        until(lambda: "full" not in failures(bench)[-1], 20)
        assert "given up" not in bench.log("supervisor")


def test_a_disk_that_was_full_when_it_began_counts(bench: Bench) -> None:
    """What ends for want of room makes some by that: MariaDB removes what it could not fill."""
    room = disk.FULL >> 20
    with small_disk(bench.root, room // 2):
        bench.hurry()
        there = bench.root / "there"
        bench.launch(toy("c", "crash_there", arguments={"file": str(there)})).start()
        until(lambda: bench.status("c").pid, 20)
        resize(bench.root, 2 * room)
        there.touch()
        until(lambda: failures(bench), 20)
        said = f"and the disk with {bench.root} was full when it was started, first time"
        assert said in failures(bench)[0]


def test_what_cannot_be_started_says_why(bench: Bench) -> None:
    client = bench.launch(
        program("missing", "/no/such/program"),
        toy("stranger", user="nobody-of-that-name"),
        toy("folder", mounts={"/no/such/place": "/tmp"}),
        toy("module"),
        toy("prepared", prepare=(("true",), ("sh", "-c", "echo no disk; exit 4"))),
    )
    client.start()
    expected = {
        "missing": "could not be started: /no/such/program: No such file or directory",
        "stranger": "could not be started: there is no user 'nobody-of-that-name'",
        "folder": "could not be started: mount /tmp on /no/such/place: No such file or directory",
        "prepared": "its preparation `sh -c 'echo no disk; exit 4'` exited with 4",
    }
    for name, how in expected.items():
        found = bench.until_state(name, State.FATAL, 10).sentence
        assert found.startswith(f"given up: {how}, 5 times in a row"), found
    assert bench.sentence("prepared").endswith("in a row: no disk")
    assert bench.status("module").state in (State.STARTING, State.READY)


def test_a_taken_port_names_its_holder(bench: Bench) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        client = bench.launch(toy("web", "echo", sockets={"door": f"tcp:127.0.0.1:{port}"}))
        client.start()
        until(lambda: bench.status("web").state is State.BACKOFF)
        assert re.match(
            rf"could not be started: tcp 127.0.0.1:{port} is in use by pid {os.getpid()} \(.+\),"
            r" first time, next try in 0\.\d s",
            bench.sentence("web"),
        )


def test_too_slow_a_start_is_a_failure(bench: Bench) -> None:
    probe = FileProbe(str(bench.root / "never"), seconds=0.3)
    client = bench.launch(toy("slow", probe=probe))
    client.start()
    until(lambda: bench.status("slow").state is State.BACKOFF)
    assert re.match(
        rf"not ready after 0\.3 s \({bench.root}/never is not there yet\), first time",
        bench.sentence("slow"),
    )
    until(lambda: "not ready after 0.6 s" in bench.log("supervisor"))
    client.stop()
    assert bench.status("slow").state is State.STOPPED


def test_ready_then_unhealthy_then_ready(bench: Bench) -> None:
    status = bench.root / "status"
    client = bench.launch(
        toy(
            "web",
            "http",
            arguments={"status": str(status)},
            sockets={"door": f"unix:{bench.root}/web.sock"},
            probe=HttpProbe(f"unix:{bench.root}/web.sock:/health"),
        ),
    )
    client.start()
    client.wait(seconds=5)
    status.write_text("503")
    found = bench.until_state("web", State.UNHEALTHY, 5)
    assert re.fullmatch(
        rf"unhealthy since 0\.\d s, pid {found.pid}: GET unix:.*:/health answers 503",
        found.sentence,
    )
    status.write_text("204")
    assert bench.until_state("web", State.READY, 5).pid == found.pid


def test_who_ignores_term_is_killed(bench: Bench) -> None:
    client = bench.launch(toy("deaf", "deaf", stop_seconds=0.2))
    client.start()
    client.wait(seconds=5)
    began = time.monotonic()
    client.stop()
    assert 0.2 < time.monotonic() - began < 2
    assert "did not end within 0.2 s, killed" in bench.log("supervisor")


@pytest.mark.parametrize("how", ["stop", "crash"])
def test_what_it_left_running_ends_with_it(bench: Bench, how: str) -> None:
    file = bench.root / "family"
    client = bench.launch(toy("family", "family", arguments={"file": str(file)}))
    client.start()
    client.wait(seconds=5)
    left = [int(p) for p in file.read_text().split()]
    assert all(Path(f"/proc/{p}").exists() for p in left)
    if how == "stop":
        client.stop()
    else:
        pid = bench.status("family").pid
        assert pid
        file.unlink()
        os.kill(pid, signal.SIGKILL)
        until(file.exists)
    assert not any(Path(f"/proc/{p}").exists() for p in left)


def test_guests_outlive_their_daemon_if_so_asked(bench: Bench) -> None:
    file = bench.root / "family"
    probe = FileProbe(str(file))
    family = toy("family", "family", arguments={"file": str(file)}, kill_group=False, probe=probe)
    client = bench.launch(family)
    client.start()
    client.wait(seconds=10)
    left = [int(p) for p in file.read_text().split()]
    client.stop()
    assert all(Path(f"/proc/{p}").exists() for p in left)
    client.shutdown()
    assert not any(Path(f"/proc/{p}/fd/0").exists() for p in left)


def test_who_accepts_no_more_is_started_again(bench: Bench) -> None:
    path = bench.root / "own.sock"
    client = bench.launch(
        toy(
            "own",
            "own_socket",
            arguments={"path": str(path)},
            probe=ConnectProbe(f"unix:{path}"),
        )
    )
    client.start()
    client.wait(seconds=5)
    pid = bench.status("own").pid
    path.unlink()
    until(lambda: bench.status("own").pid not in (pid, None) and path.exists())
    assert "own: accepted no connection for 0." in bench.log("supervisor")
