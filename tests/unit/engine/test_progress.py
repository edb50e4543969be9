"""Events, and what listeners make of them."""

from __future__ import annotations

import io
import json

import pytest

from onestack.cli import screen
from onestack.engine.progress import Progress, ProgressEvent, tell


def run(progress: Progress) -> None:
    with progress.child("packages", "Debian packages") as step:
        with step.child("0", "install 2 packages"):
            tell("waiting for process 7")
        step.outcome = "1 change"
    with progress.child("users", "Users") as step:
        step.outcome = "nothing to do"


def test_plain_lines() -> None:
    out = io.StringIO()
    run(Progress([screen.PlainLines(out)]))
    lines = [line.split(" s  ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines[0] == "packages: install 2 packages"
    assert lines[1] == "packages: waiting for process 7"
    assert lines[2].startswith("packages: 1 change (")
    assert len(lines) == 3  # what had nothing to do is not shown


def test_json_lines() -> None:
    out = io.StringIO()
    run(Progress([screen.JsonLines(out)]))
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [e["kind"] for e in events] == ["started"] * 2 + ["note"] + ["finished"] * 2 + [
        "started",
        "finished",
    ]
    assert events[4]["path"] == ["packages"]
    assert events[4]["outcome"] == "1 change"


def test_live_screen_ends_with_the_finished_steps() -> None:
    out = io.StringIO()
    with screen.LiveScreen(out) as live:
        run(Progress([live]))
    assert "Debian packages: 1 change" in out.getvalue()
    assert "Users" not in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_choose() -> None:
    out = io.StringIO()
    assert isinstance(screen.choose(True, out), screen.JsonLines)
    assert isinstance(screen.choose(False, out), screen.PlainLines)
    assert isinstance(screen.choose(False, Terminal()), screen.LiveScreen)


def test_a_block_that_raises_is_finished_as_failed() -> None:
    events: list[ProgressEvent] = []
    with pytest.raises(ValueError), Progress([events.append]).child("a", "A"):
        raise ValueError
    assert events[-1].outcome == "failed"


def test_tell_outside_of_any_step_is_no_mistake() -> None:
    tell("nobody listens")
