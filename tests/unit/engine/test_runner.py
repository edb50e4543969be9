"""Steps in parallel, failures, dry runs, and stopping."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator

import pytest

from onestack.engine.progress import Progress, ProgressEvent
from onestack.engine.runner import AGAIN, Runner, StepsFailed
from onestack.engine.step import Outcome, Step
from onestack.model.change import Change
from onestack.model.errors import NotRunning, NotYet, OnestackError
from onestack.model.run import this_run


def changes(*what: str, do: Callable[[], None] = lambda: None) -> Callable[[], Iterator[Change]]:
    return lambda: iter([Change(text, do) for text in what])


def raises(error: Exception) -> Callable[[], Iterator[Change]]:
    def ensure() -> Iterator[Change]:
        raise error
        yield

    return ensure


def outcomes(runner: Runner) -> dict[str, Outcome]:
    return {r.name: r.outcome for r in runner.report.results}


def test_changes_are_made_one_after_the_other_while_the_step_looks() -> None:
    world: list[str] = []

    def ensure() -> Iterator[Change]:
        yield Change("make one", lambda: world.append("one"))
        assert world == ["one"]
        yield Change("make two", lambda: world.append("two"))
        assert world == ["one", "two"]

    runner = Runner()
    runner.execute([Step("a", "A", ensure)])
    (result,) = runner.report.results
    assert result.outcome is Outcome.CHANGED
    assert result.changes == ("make one", "make two")
    assert result.sentence == "2 changes"


def test_nothing_to_do_is_said() -> None:
    runner = Runner()
    runner.execute([Step("a", "A", changes())])
    assert runner.report.results[0].sentence == "nothing to do"
    assert runner.report.changes == []


def test_steps_run_at_the_same_time_and_in_order() -> None:
    together = threading.Barrier(2, timeout=10)
    order: list[str] = []

    def meet(name: str) -> Callable[[], Iterator[Change]]:
        def ensure() -> Iterator[Change]:
            together.wait()
            order.append(name)
            yield from ()

        return ensure

    runner = Runner()
    last = Step("c", "C", changes("x", do=lambda: order.append("c")), ("a", "b"))
    runner.execute([last, Step("a", "A", meet("a")), Step("b", "B", meet("b"))])
    assert sorted(order[:2]) == ["a", "b"]
    assert order[2] == "c"


def test_after_a_failure_running_steps_end_and_nothing_new_starts() -> None:
    failed = threading.Event()
    done: list[str] = []

    def slow() -> Iterator[Change]:
        assert failed.wait(10)
        yield Change("finish", lambda: done.append("slow"))

    def fail() -> Iterator[Change]:
        failed.set()
        raise OnestackError("the disk is full", "no space", "make room")
        yield

    runner = Runner()
    with pytest.raises(StepsFailed) as caught:
        runner.execute(
            [
                Step("slow", "Slow", slow),
                Step("bad", "Bad", fail),
                Step("later", "Later", changes("x"), ("bad",)),
                Step("after", "After", changes("x"), ("slow",)),
            ]
        )
    assert (caught.value.what, caught.value.why) == ("Bad: the disk is full", "no space")
    assert caught.value.cure == f"make room\n{AGAIN}"
    assert done == ["slow"]
    found = outcomes(runner)
    assert found["slow"] is Outcome.CHANGED
    assert found["bad"] is Outcome.FAILED
    assert found["later"] is found["after"] is Outcome.NOT_STARTED


def test_several_failures_are_told_together() -> None:
    both = threading.Barrier(2, timeout=10)

    def fail(word: str) -> Callable[[], Iterator[Change]]:
        def ensure() -> Iterator[Change]:
            both.wait()
            raise OnestackError(f"{word} broke", f"{word} why", f"mend {word}")
            yield

        return ensure

    with pytest.raises(StepsFailed) as caught:
        Runner().execute([Step("a", "A", fail("one")), Step("b", "B", fail("two"))])
    assert caught.value.what == "2 steps failed"
    assert "A: one broke\none why" in caught.value.why
    assert {*caught.value.cure.splitlines()} == {"mend one", "mend two", AGAIN}


def test_an_unexpected_exception_names_its_step() -> None:
    runner = Runner()
    with pytest.raises(StepsFailed) as caught:
        runner.execute([Step("odd", "Odd", raises(ValueError("boo")))])
    assert caught.value.what == "Odd: the step odd failed: ValueError: boo"
    assert "an error of onestack's own, in ensure, line" in caught.value.why
    assert "Traceback" in caught.value.traceback and "Traceback" not in str(caught.value)


def test_a_full_disk_is_no_fault_of_the_step() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/var/cache/onestack/x")
    with pytest.raises(OnestackError, match="no room on the disk") as caught:
        Runner().execute([Step("b", "B", raises(full))])
    assert "/var/cache/onestack/x" in caught.value.why and not caught.value.traceback


def test_a_dry_run_changes_nothing_and_collects_all() -> None:
    def never() -> None:
        raise AssertionError("changed in a dry run")

    runner = Runner(dry_run=True)
    runner.execute(
        [
            Step("a", "A", changes("make a", do=never)),
            Step("b", "B", changes("make b", "and c", do=never), ("a",)),
        ]
    )
    assert runner.report.changes == [("a", "make a"), ("b", "make b"), ("b", "and c")]


def test_a_dry_run_does_not_know_what_depends_on_changes() -> None:
    runner = Runner(dry_run=True)
    missing = raises(NotRunning("the server does not answer"))

    def partly() -> Iterator[Change]:
        yield Change("start", lambda: None)
        raise NotYet("not started")

    runner.execute(
        [
            Step("start", "Start", changes("start it")),
            Step("ask", "Ask", missing, ("start",)),
            Step("further", "Further", missing, ("ask",)),
            Step("partly", "Partly", partly),
        ]
    )
    found = outcomes(runner)
    assert found["ask"] is found["further"] is Outcome.UNKNOWN
    assert found["partly"] is Outcome.CHANGED


def test_a_dry_run_still_fails_where_nothing_is_to_be_changed_before() -> None:
    with pytest.raises(StepsFailed):
        Runner(dry_run=True).execute([Step("a", "A", raises(NotYet("not there")))])


@pytest.mark.parametrize("error", [AttributeError("of ours"), OSError("odd"), OnestackError("no")])
def test_a_fault_after_a_change_is_a_fault_in_a_dry_run_too(error: Exception) -> None:
    """It was said to be "not yet known"."""
    with pytest.raises(StepsFailed) as caught:
        Runner(dry_run=True).execute(
            [Step("a", "A", changes("make it")), Step("b", "B", raises(error), ("a",))]
        )
    assert str(error) in caught.value.what
    assert ("Traceback" in caught.value.traceback) != isinstance(error, OnestackError)


def test_a_second_graph_builds_on_the_first() -> None:
    runner = Runner()
    runner.execute([Step("a", "A", changes("x"))])
    runner.execute([Step("b", "B", changes("y"), ("a",))])
    assert [r.name for r in runner.report.results] == ["a", "b"]


def test_progress_is_a_tree_of_events() -> None:
    events: list[ProgressEvent] = []
    Runner(Progress([events.append])).execute([Step("a", "A", changes("make it"))])
    assert [(e.kind, e.path, e.title) for e in events] == [
        ("started", ("a",), "A"),
        ("started", ("a", "0"), "make it"),
        ("finished", ("a", "0"), "make it"),
        ("finished", ("a",), "A"),
    ]
    assert events[-1].outcome == "1 change"
    assert events[-1].seconds >= events[2].seconds >= 0


PROGRAM = """
import sys, threading, time
from onestack.model.change import Change
from onestack.host.command import run
from onestack.engine.runner import Interrupted, Runner
from onestack.engine.step import Step

sleeping = threading.Event()

def work():
    sleeping.wait(20)
    time.sleep(0.5)  # the command has begun by then
    print("working", flush=True)
    time.sleep(0.6)
    print("worked", flush=True)

def steps():
    yield Change("first", work)
    yield Change("second", lambda: print("never", flush=True))

def command():
    def sleep():
        sleeping.set()
        run(["sleep", "60"], timeout=70)

    yield Change("sleep", sleep)

runner = Runner()
try:
    runner.execute([Step("a", "A", steps), Step("b", "B", command), Step("c", "C", steps, ("a",))])
except Interrupted as error:
    print(error, flush=True)
    print({r.name: r.outcome.value for r in runner.report.results}, flush=True)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped_by_the_operator(number: int) -> None:
    """The change at work ends, a command is cut short, nothing new begins, exit 1."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        # A shell may have us ignore it; the child must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert "worked\nstopped before the end\ncure: run the same command again" in out
    assert "never" not in out
    assert "{'b': 'stopped'" in out or "'b': 'stopped'" in out
    assert "'c': 'not started'" in out


def test_two_runs_in_one_program_are_stopped_apart() -> None:
    """The sign to stop was one for all."""
    one, other = Runner(), Runner()
    seen = []

    def look() -> Iterator[Change]:
        one.run.stop.set()
        seen.append(this_run() is other.run and not this_run().stop.is_set())
        yield Change("go on", lambda: None)

    other.execute([Step("look", "Look", look)])
    assert seen == [True]
    assert outcomes(other) == {"look": Outcome.CHANGED}
