"""Starting and stopping in order; needs; two clients at once."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from onestack.model.errors import OnestackError
from onestack.model.process import FileProbe, NotifyProbe, Process
from onestack.supervise.states import State
from tests.unit.supervise.bench import Bench, needs_root, program, toy, until

pytestmark = needs_root


def noted(bench: Bench, name: str, *needs: str) -> Process:
    ready = bench.root / f"{name}.ready"
    return toy(
        name,
        "ordered",
        needs=needs,
        arguments={"book": str(bench.root / "book"), "ready": str(ready)},
        probe=FileProbe(str(ready)),
        cleanup=(("rm", str(ready)),),
    )


def book(bench: Bench) -> list[str]:
    return (bench.root / "book").read_text().splitlines()


def test_needs_are_ready_before_and_down_after(bench: Bench) -> None:
    client = bench.launch(
        noted(bench, "api", "database", "bus"),
        noted(bench, "front", "api"),
        noted(bench, "database"),
        noted(bench, "bus"),
    )
    client.start()
    client.wait(seconds=10)
    began = book(bench)
    assert began.index("start api") > began.index("start database")
    assert began.index("start api") > began.index("start bus")
    assert began[-1] == "start front"
    client.stop()
    ended = book(bench)[4:]
    assert ended[:2] == ["stop front", "stop api"]
    assert sorted(ended[2:]) == ["stop bus", "stop database"]
    assert {s.state for s in client.status()} == {State.STOPPED}
    client.shutdown()
    assert not client.running()


def test_stopping_one_leaves_those_above_alone_and_restart_keeps_order(bench: Bench) -> None:
    client = bench.launch(noted(bench, "database"), noted(bench, "api", "database"))
    client.start()
    client.wait(seconds=10)
    client.stop(["database"])
    assert bench.status("api").state is State.READY
    assert bench.sentence("database").startswith("stopped since 0.")
    client.start(["database"])
    client.wait(seconds=10)
    client.restart()
    client.wait(seconds=10)
    assert book(bench)[4:] == ["stop api", "stop database", "start database", "start api"]


def test_held_are_down_in_order_and_their_clients_wait(bench: Bench) -> None:
    """Those above first; a start that comes meanwhile is carried out afterwards."""
    door = bench.root / "door"
    client = bench.launch(
        noted(bench, "database"),
        toy("between", needs=("database",)),
        noted(bench, "api", "between"),
        toy("echo", "echo", sockets={"door": f"unix:{door}"}, needs=("database",)),
    )
    client.start()
    client.wait(seconds=10)
    old = bench.status("echo").pid
    client.pause(["database", "api", "echo"])
    client.start(["database"])
    client.wait(["database"], seconds=10)
    assert book(bench)[2:] == ["stop api", "stop database", "start database"]
    assert bench.status("api").state is State.STOPPED
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(door))
        client.start(["echo"])
        client.wait(["echo"], seconds=10)
        assert int(waiting.makefile().readline()) == bench.status("echo").pid != old
    client.pause(["echo"])
    client.stop(["echo"])
    assert not door.exists()


def test_waiting_says_for_what(bench: Bench) -> None:
    client = bench.launch(toy("database"), toy("api", needs=("database", "moon")))
    client.start(["api"])
    until(lambda: bench.sentence("api").startswith("waits for database"))
    assert bench.sentence("api") == "waits for database (stopped), moon (unknown)"
    assert bench.sentence("database") == "not started"
    with pytest.raises(OnestackError) as caught:
        client.wait(["api"], seconds=0.2)
    assert caught.value.what == "api is not ready after 0.2 s"
    assert caught.value.why == "waits for database (stopped), moon (unknown)"


def test_two_clients_and_one_that_goes_away(bench: Bench) -> None:
    client = bench.launch(noted(bench, "a"), noted(bench, "b", "a"), toy("c"))
    seen: dict[int, State] = {}

    def wait(number: int) -> None:
        client.wait(["a", "b"], 10.0)
        (status,) = client.status(["b"])
        seen[number] = status.state

    threads = [threading.Thread(target=wait, args=(number,)) for number in (1, 2)]
    client.start()
    for thread in threads:
        thread.start()
    gone = client._connect()
    gone.sendall(b'{"verb": "wait", "seconds": 10}\n{"verb": "status"}\n')
    gone.close()
    for thread in threads:
        thread.join(10)
    assert seen == {1: State.READY, 2: State.READY}
    assert "defect" not in bench.log("supervisor")
    with pytest.raises(OnestackError, match="there is no process 'nobody'"):
        client.start(["nobody"])


def test_a_second_supervisor_is_told(bench: Bench) -> None:
    import subprocess

    client = bench.launch(toy("a"))
    pid = client.details().pid
    done = subprocess.run(
        [str(bench.python), "-m", "onestack.supervise", "--roster", str(client.roster)],
        env={"PYTHONPATH": bench.path},
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert done.returncode == 1
    assert done.stderr == f"a supervisor of {bench.root} is running already, pid {pid}\n"
    # a second launch is none
    bench.launch(toy("a"))
    assert client.details().pid == pid


def test_start_all_and_end_by_signal(bench: Bench) -> None:
    import subprocess

    bench.client._write(bench.roster(toy("a"), program("b", "sleep", "1000")))
    with (bench.root / "out").open("w") as out:
        supervisor = subprocess.Popen(
            [
                str(bench.python),
                *("-m", "onestack.supervise", "--foreground", "--start-all"),
                *("--roster", str(bench.client.roster)),
            ],
            env={"PYTHONPATH": bench.path},
            stderr=out,
        )
    until(bench.client.running)
    bench.client.wait(seconds=5)
    pids = [s.pid for s in bench.client.status()]
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(5) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    text = (bench.root / "out").read_text()
    assert "all 2 processes are ready" in text
    assert "supervisor ends" in text


def test_supervisor_killed_and_a_new_one_takes_over(bench: Bench) -> None:
    specs = (toy("a"), program("b", "sleep", "1000"), toy("c", "deaf"))
    client = bench.launch(*specs, preload=("toys",))
    client.start()
    client.wait(seconds=5)
    before = [s.pid for s in client.status()]
    os.kill(client.details().pid, signal.SIGKILL)
    until(lambda: not client.running())
    assert all(Path(f"/proc/{pid}").exists() for pid in before)
    # the one that ignores TERM is killed after a patience that is no test's
    os.kill(before[2] or 0, signal.SIGKILL)
    began = time.monotonic()
    bench.launch(*specs)
    assert time.monotonic() - began < 5
    until(lambda: not any(Path(f"/proc/{p}/fd/0").exists() for p in before))
    client.start()
    client.wait(seconds=5)
    assert "leftovers of a killed supervisor" in bench.log("supervisor")
    assert not set(before) & {s.pid for s in client.status()}


def test_a_process_may_say_itself_that_it_is_ready(bench: Bench) -> None:
    go = bench.root / "go"
    say = (
        "import os,socket,time\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        "socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)"
        ".sendto(b'STATUS=x\\nREADY=1',os.environ['NOTIFY_SOCKET'])\n"
        "time.sleep(1000)"
    )
    client = bench.launch(
        toy("toy", "notifies", arguments={"go": str(go)}, probe=NotifyProbe()),
        program("program", sys.executable, "-c", say, probe=NotifyProbe(), user="nobody"),
        toy("other"),
    )
    client.start()
    client.wait(["other"], seconds=5)
    assert {bench.status(name).state for name in ("toy", "program")} == {State.STARTING}
    go.touch()
    client.wait(seconds=5)
