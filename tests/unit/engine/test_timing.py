"""Timings of runs: kept, cut, shown."""

from __future__ import annotations

from pathlib import Path

from onestack.engine import timing
from onestack.engine.step import Outcome, RunReport, StepResult


def report() -> RunReport:
    return RunReport(
        [
            StepResult("a", "A", Outcome.CHANGED, ("x", "y"), 0.0, 2.5),
            StepResult("b", "B", Outcome.NOTHING, (), 0.1, 0.01),
            StepResult("c", "C", Outcome.FAILED, ("x",), 2.5, 7.25),
            StepResult("d", "D", Outcome.NOT_STARTED, (), 9.0, 0.0),
        ],
        9.75,
    )


def test_blame_has_the_slowest_first(tmp_path: Path) -> None:
    timing.save(tmp_path, timing.of("up", report()))
    (run,) = timing.load(tmp_path)
    assert (run.verb, run.seconds) == ("up", 9.75)
    assert timing.blame(run) == [
        ("2.5 s", "7.2 s", "c", "failed"),
        ("0.0 s", "2.5 s", "a", "2 changes"),
        ("0.1 s", "0.0 s", "b", "nothing to do"),
    ]
    assert [s.name for s in run.slowest(1)] == ["c"]


def test_only_the_last_runs_are_kept(tmp_path: Path) -> None:
    for _ in range(timing.KEPT + 3):
        timing.save(tmp_path, timing.of("up", RunReport()))
    assert len(timing.load(tmp_path)) == timing.KEPT


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "timings.json").write_text("{")
    assert timing.load(tmp_path) == []
    timing.save(tmp_path, timing.of("up", report()))
    assert len(timing.load(tmp_path)) == 1


def test_the_three_slowest_that_did_something() -> None:
    assert [r.name for r in report().slowest] == ["c", "a"]
