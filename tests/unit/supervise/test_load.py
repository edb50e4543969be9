"""A new roster: added, removed, stale; jobs; what was preloaded."""

from __future__ import annotations

import functools
import re
import threading
import time
from dataclasses import replace

import pytest

from onestack.model.errors import OnestackError
from onestack.supervise import logs, protocol
from onestack.supervise.states import State
from tests.unit.supervise.bench import Bench, needs_root, toy, until

pytestmark = needs_root


def test_changes_of_spec_and_files_make_stale(bench: Bench) -> None:
    config = bench.root / "a.conf"
    config.write_text("one")
    a = toy("a", files=(str(config),))
    b, c, d = toy("b"), toy("c"), toy("d")
    client = bench.launch(a, b, c)
    client.start()
    client.wait(seconds=5)
    assert bench.load(a, b, c).stale == ()
    config.write_text("two")
    loaded = bench.load(a, replace(b, env={"X": "1"}), d)
    assert (loaded.added, loaded.removed, loaded.stale) == (("d",), ("c",), ("a", "b"))
    until(lambda: [s.name for s in client.status()] == ["a", "b", "d"])
    assert re.fullmatch(
        r"ready since \d\.\d s, pid \d+; its configuration has changed since it was started",
        bench.sentence("a"),
    )
    assert bench.status("d").state is State.STOPPED
    client.restart(["a", "b"])
    client.wait(["a", "b"], seconds=5)
    assert not any(s.stale for s in client.status())
    config.write_text("one")
    assert bench.load(a, replace(b, env={"X": "1"}), d).stale == ("a",)


def test_asked_about_one_the_supervisor_looks_at_its_files_again(bench: Bench) -> None:
    config = bench.root / "a.conf"
    config.write_text("one")
    client = bench.launch(toy("a", files=(str(config),)), toy("b"))
    client.start()
    client.wait(seconds=5)
    config.write_text("two")
    assert not bench.status("a").stale
    assert [(s.name, s.stale) for s in client.status(["a", "nobody"])] == [("a", True)]
    config.write_text("one")
    assert not client.status(["a"])[0].stale


def test_a_roster_that_cannot_be_read_changes_nothing(bench: Bench) -> None:
    client = bench.launch(toy("a"))
    client.roster.write_text('{"cloud": ')
    with pytest.raises(OnestackError, match=r"the roster .* cannot be read"):
        client.load()
    assert [s.name for s in client.status()] == ["a"]


def test_jobs(bench: Bench) -> None:
    client = bench.launch()
    file = bench.root / "out"
    client.job(
        run="toys:job", user="root", arguments={"file": str(file)}, env={"WORD": "x"}, log="good"
    )
    assert file.read_text() == "x\n"
    client.job(run="toys:job", user="nobody", arguments={}, log="other")
    assert "user 65534" in bench.log("other")
    with pytest.raises(OnestackError) as caught:
        client.job(
            run="toys:job",
            user="root",
            arguments={"fail": True},
            log="bad",
            component="toys",
            explain=lambda component, text: f"{component}: {'no name' in text}",
        )
    assert caught.value.what == "bad failed"
    how, *lines = caught.value.why.splitlines()
    assert re.fullmatch(r"exited with 1 after 0\.\d s", how)
    assert lines[:2] == ["  working", "  user 0"]
    assert lines[-1] == "  ValueError: the third column has no name"
    assert caught.value.cure == "toys: True"
    with pytest.raises(OnestackError, match="odd failed") as caught:
        client.job(run="toys:job", user="root", arguments={"code": 7}, log="odd")
    assert "exited with 7" in caught.value.why
    with pytest.raises(OnestackError) as caught:
        client.job(run="toys:job", user="root", arguments={"sleep": 9}, log="long", seconds=0.1)
    assert "killed by SIGKILL after 0." in caught.value.why


def test_the_same_job_twice_is_one_job(bench: Bench) -> None:
    """As when a command line client was killed during a migration, and runs again."""
    client = bench.launch()
    file = bench.root / "out"
    order = functools.partial(client.job, run="toys:job", user="root", log="sync")
    arguments = {"file": str(file), "sleep": 0.5}
    threads = [threading.Thread(target=order, kwargs={"arguments": arguments}) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: client.details().jobs)
    with pytest.raises(OnestackError, match="the job sync was not run") as caught:
        order(arguments={})
    assert re.fullmatch(r"another job sync is running, pid \d+", caught.value.why)
    for thread in threads:
        thread.join(5)
    assert file.read_text() == "\n"


def test_preload_reports_what_is_wrong(bench: Bench) -> None:
    client = bench.launch(preload=("toys", "no_such_module", "starts_a_thread", "wants_eventlet"))
    preload = until(lambda: (p := client.details().preload).done and p)
    assert preload.problems == (
        "no_such_module cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
        "wants_eventlet cannot be imported: ImportError: eventlet is kept out",
        "an imported module started threads (of an import): no child has them",
    )
    assert re.fullmatch(r"4 modules imported in \d\.\d s", preload.sentence)
    client.job(run="toys:job", user="root", arguments={}, log="still")


def test_clients_of_no_supervisor(bench: Bench) -> None:
    assert not bench.client.running()
    with pytest.raises(OnestackError) as caught:
        bench.client.status()
    assert caught.value.what == "the supervisor does not run"
    assert caught.value.cure == "run `onestack up`"
    bench.client.shutdown()


def test_a_launch_that_fails_says_why(bench: Bench) -> None:
    with pytest.raises(OnestackError) as caught:
        bench.launch(netns="no-such-namespace")
    assert caught.value.what == "the supervisor did not start"
    assert "the network namespace no-such-namespace: [Errno 2]" in caught.value.why


def test_logs_are_cut_and_their_last_lines_found(bench: Bench) -> None:
    log = bench.root / "x.log"
    with log.open("a") as file:
        file.write("old\n" * 1000)
        file.flush()
        assert logs.rotate(bench.root, large=100) == ["x.log"]
        assert (log.stat().st_size, len((bench.root / "x.log.1").read_text())) == (0, 4000)
        file.write("a\n\nb\n")
        file.flush()
    assert logs.last_lines(log, 15) == ["a", "b"]
    assert logs.last_lines(log, 1) == ["b"]
    assert logs.last_lines(log, 15, start=3) == ["b"]
    assert logs.last_lines(log, 15, start=4000) == ["a", "b"]
    assert logs.last_lines(bench.root / "none.log", 15) == []


def test_many_events_to_a_client_that_does_not_read(bench: Bench) -> None:
    client = bench.launch(toy("a"))
    with client._connect() as lazy:
        lazy.sendall(protocol.encode_request(protocol.Status()) * 2000)
        began = time.monotonic()
        client.status()
        assert time.monotonic() - began < 5
