"""The unit, and what systemd is told."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from onestack.model.process import FileProbe
from onestack.supervise.states import State
from onestack.supervise.systemd import ask_for_none, asked_for_none, unit
from tests.support.ini import Parser
from tests.unit.supervise.bench import Bench, needs_root, toy, until

Hear = Callable[[str], bool]


def test_the_unit() -> None:
    text = unit(
        "onestack",
        Path("/var/lib/onestack"),
        Path("/opt/rel/bin/python"),
        Path("/opt/program"),
        Path("/var/lib/onestack/etc/roster.json"),
    )
    parsed = Parser(strict=False)
    parsed.read_string(text)
    service = parsed["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"] == (
        "/opt/rel/bin/python -m onestack.supervise"
        " --roster /var/lib/onestack/etc/roster.json --start-all"
    )
    assert (service["Delegate"], service["Restart"]) == ("yes", "always")
    # guests outlive a supervisor, and one process that has given up does not end the others
    assert (service["KillMode"], service["OOMPolicy"]) == ("process", "continue")
    assert service["TimeoutStartSec"] == "infinity"
    assert 'Environment="PYTHONPATH=/opt/program"' in text
    assert 'Environment="ONESTACK_SUPERVISED=/var/lib/onestack"' in text


@contextlib.contextmanager
def told(bench: Bench, **env: str) -> Iterator[tuple[subprocess.Popen[bytes], Hear, list[str]]]:
    """A supervisor as systemd starts it; ``hear`` takes in what it says, which the list keeps."""
    address = str(bench.root / "notify")
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.setblocking(False)

        def hear(word: str) -> bool:
            with contextlib.suppress(BlockingIOError):
                heard.extend(notify.recv(4096).decode().splitlines())
            return word in heard

        supervisor = subprocess.Popen(
            [
                *(str(bench.python), "-m", "onestack.supervise", "--start-all"),
                *("--roster", str(bench.client.roster)),
            ],
            env={"PYTHONPATH": bench.path, "NOTIFY_SOCKET": address, **env},
        )
        yield supervisor, hear, heard


@needs_root
def test_ready_is_told_when_all_are(bench: Bench) -> None:
    ready = bench.root / "ready"
    bench.client._write(bench.roster(toy("a"), toy("b", probe=FileProbe(str(ready)))))
    with told(bench, WATCHDOG_USEC="200000") as (supervisor, hear, heard):
        half = "STATUS=1 of 2 processes ready; b: starting"
        until(lambda: hear("") or any(line.startswith(half) for line in heard))
        assert "READY=1" not in heard
        # a sign of life is a promise of more, which imports would break
        time.sleep(0.5)
        assert not hear("WATCHDOG=1")
        ready.touch()
        until(lambda: hear("READY=1"))
        until(lambda: hear("STATUS=2 of 2 processes ready"))
        until(lambda: hear("WATCHDOG=1"))
        supervisor.terminate()
        until(lambda: hear("STOPPING=1"))
        assert supervisor.wait(5) == 0
    assert "NOTIFY_SOCKET" not in bench.log("a")


@needs_root
def test_what_up_has_yet_to_start_is_waited_for(bench: Bench) -> None:
    bench.client._write(bench.roster(toy("a"), toy("b")))
    ask_for_none(bench.root)
    with told(bench) as (supervisor, hear, heard):
        until(bench.client.running)
        bench.client.start(["a"])
        until(lambda: hear("") or any(line.startswith("STATUS=1 of 2") for line in heard))
        assert "READY=1" not in heard
        bench.client.start(["b"])
        until(lambda: hear("READY=1"))
        supervisor.terminate()
        assert supervisor.wait(5) == 0


@needs_root
def test_while_up_is_at_work_nothing_is_started_by_itself(bench: Bench) -> None:
    """Once: what systemd starts after that starts all, as at boot."""
    bench.client._write(bench.roster(toy("a")))
    words = [
        *(str(bench.python), "-m", "onestack.supervise", "--start-all"),
        *("--roster", str(bench.client.roster)),
    ]

    def are(wanted: dict[str, State]) -> bool:
        return {p.name: p.state for p in bench.client.status()} == wanted

    ask_for_none(bench.root)
    for expected in (State.STOPPED, State.READY):
        supervisor = subprocess.Popen(words, env={"PYTHONPATH": bench.path})
        until(bench.client.running)
        until(functools.partial(are, {"a": expected}))
        supervisor.terminate()
        assert supervisor.wait(5) == 0


def test_what_was_asked_before_the_boot_is_not_meant(tmp_path: Path) -> None:
    ask_for_none(tmp_path)
    asked = tmp_path / "run" / "supervisor" / "start-none"
    asked.write_text("another boot\n")
    assert not asked_for_none(tmp_path)
    assert not asked.exists()
