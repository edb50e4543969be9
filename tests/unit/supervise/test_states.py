"""The state machine: edges, delays, and the exact sentences."""

from __future__ import annotations

import pytest

from onestack.supervise.states import EDGES, State, StateMachine, duration, ordinal


def started(now: float = 100.0, pid: int = 123) -> StateMachine:
    machine = StateMachine(now)
    machine.wanted(now)
    machine.starting(now)
    machine.spawned(now, pid)
    return machine


def test_durations_are_for_people() -> None:
    assert [duration(s) for s in (0.04, 9.9, 12.3, 119, 300, 7300, 400000)] == [
        "0.0 s",
        "9.9 s",
        "12 s",
        "119 s",
        "5 min",
        "2 h",
        "5 days",
    ]
    assert [ordinal(n) for n in (1, 3, 6, 7)] == ["first", "third", "sixth", "7th"]
    assert [ordinal(n) for n in (12, 21, 102, 113)] == ["12th", "21st", "102nd", "113th"]


def test_every_state_has_edges() -> None:
    assert set(EDGES) == set(State)


def test_an_edge_that_is_none_is_refused() -> None:
    with pytest.raises(AssertionError, match="no edge from"):
        StateMachine(0.0).ready(1.0)


def test_sentences_of_a_quiet_life() -> None:
    machine = StateMachine(100.0)
    assert machine.sentence(100.0) == "not started"
    machine.wanted(100.0)
    assert machine.sentence(100.0) == "waits for its turn"
    machine.detail = "mariadb (starting)"
    assert machine.sentence(101.0) == "waits for mariadb (starting)"
    machine.starting(102.0)
    assert machine.sentence(102.5) == "starting since 0.5 s"
    machine.spawned(102.5, 123)
    machine.detail = "tcp:127.77.0.1:5000: connection refused"
    assert (
        machine.sentence(104.0)
        == "starting since 2.0 s, pid 123: tcp:127.77.0.1:5000: connection refused"
    )
    machine.ready(105.0)
    assert machine.sentence(117.0) == "ready since 12 s, pid 123"
    assert machine.sentence(117.0, stale=True) == (
        "ready since 12 s, pid 123; its configuration has changed since it was started"
    )
    machine.unhealthy(120.0, "GET http://x answers 503")
    assert machine.sentence(150.0) == "unhealthy since 30 s, pid 123: GET http://x answers 503"
    machine.ready(151.0, "asked without a token")
    assert machine.sentence(151.0) == "ready since 0.0 s, pid 123 (asked without a token)"
    machine.stopping(152.0)
    assert machine.sentence(153.0) == "stopping since 1.0 s, pid 123"
    machine.stopped(154.0)
    assert machine.sentence(159.0) == "stopped since 5.0 s"


def test_delays_double_and_then_it_gives_up() -> None:
    machine = StateMachine(0.0)
    machine.wanted(0.0)
    delays = []
    for _ in range(5):
        machine.starting(1.0)
        machine.spawned(1.0, 7)
        machine.exited(1.3, "exited with 1")
        delays.append(machine.failed(1.3, machine.detail, "no such table"))
        if len(delays) == 3:
            assert machine.sentence(1.3) == (
                "exited with 1 after 0.3 s, third time, next try in 2.0 s: no such table"
            )
        if delays[-1] is not None:
            machine.retry(1.3 + delays[-1])
    assert delays == [0.5, 1.0, 2.0, 4.0, None]
    assert machine.state is State.FATAL
    assert machine.sentence(9.0) == (
        "given up: exited with 1 after 0.3 s, 5 times in a row: no such table"
    )
    machine.wanted(10.0)
    assert (machine.state, machine.failures) == (State.WAITING, 0)


def test_who_was_ready_for_long_is_not_given_up() -> None:
    machine = started()
    for ready_for, delay in ((20, 0.5), (20, 1.0), (20, 2.0), (20, 4.0), (20, 8.0), (61, 0.5)):
        machine.ready(100.0)
        machine.exited(100.0 + ready_for, "killed by SIGKILL")
        assert machine.failed(100.0 + ready_for, machine.detail) == delay
        machine.retry(200.0)
        machine.starting(100.0)
        machine.spawned(100.0, 8)
    assert machine.restarts == 6


def test_time_spent_unhealthy_counts_as_having_lived() -> None:
    machine = started()
    machine.ready(100.0)
    machine.unhealthy(105.0, "x")
    machine.exited(170.0, "exited with 0")
    machine.failed(170.0, machine.detail)
    assert machine.quick == 0
    assert machine.sentence(170.0).startswith("exited with 0 after 70 s, first time")


def test_what_has_a_passing_cause_is_never_given_up() -> None:
    machine = StateMachine(0.0)
    machine.wanted(0.0)
    # more than a number can be doubled
    for number in range(2000):
        machine.starting(number)
        machine.spawned(number, 1)
        machine.exited(number, "exited with 1")
        assert machine.failed(number, "the disk is full", passing=True) == min(
            0.5 * 2 ** min(number, 9), 30
        )
        machine.retry(number)
    # Once it is gone, an ordinary failure is the first of five.
    delays = []
    for number in range(2000, 2005):
        machine.starting(number)
        machine.spawned(number, 1)
        machine.exited(number, "exited with 1")
        delays.append(machine.failed(number, "exited with 1"))
        if delays[-1] is not None:
            machine.retry(number)
    assert delays == [30.0] * 4 + [None]
