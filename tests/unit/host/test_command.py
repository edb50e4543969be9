"""The runner of external commands."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from onestack.host import orphans
from onestack.host.command import Aborted, CommandFailed, follow, run
from onestack.model.errors import OnestackError
from onestack.model.run import Run


def test_output_and_time() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2"])
    assert (result.code, result.out, result.err, result.ok) == (0, "out\n", "err\n", True)
    assert result.seconds < 10


def test_a_failure_shows_what_was_run_and_all_it_said() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "echo some; echo wrong >&2; exit 3"])
    text = str(caught.value)
    assert "sh -c 'echo some; echo wrong >&2; exit 3' failed" in text
    assert "exit code 3" in text
    assert "its output:\nsome" in text
    assert "its errors:\nwrong" in text
    assert caught.value.result.code == 3


def test_secrets_are_hidden_everywhere() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "echo pa55; echo pa55 >&2; exit 1 # pa55"], secrets=["pa55", ""])
    assert "pa55" not in str(caught.value) + repr(caught.value.result)
    assert "********" in str(caught.value)


def test_there_is_no_input_unless_given(tmp_path: Path) -> None:
    assert run(["cat"]).out == ""
    assert run(["cat"], stdin="given").out == "given"
    (tmp_path / "file").write_text("from a file")
    assert run(["cat"], stdin=tmp_path / "file").out == "from a file"


def test_output_to_a_file_is_for_us_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert run(["echo", "text"], stdout=target).out == ""
    assert target.read_text() == "text\n"
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_timeout_ends_the_command_and_its_children() -> None:
    mark = f"9{os.getpid()}"
    with pytest.raises(CommandFailed, match="failed") as caught:
        run(["sh", "-c", f"sleep {mark} & sleep {mark}"], timeout=0.3)
    assert "did not end within 0.3 s" in caught.value.why
    assert not [p for p in _commands() if mark in p]


def _commands() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def test_what_waits_in_vain_is_ended() -> None:
    script = "echo Waiting for someone to free space >&2; sleep 60"
    with pytest.raises(CommandFailed, match="does not come by itself") as caught:
        run(["sh", "-c", script], hopeless="for someone to free")
    assert "Waiting for someone" in caught.value.result.err
    assert caught.value.result.seconds < 30


def test_a_large_input_and_output_do_not_block() -> None:
    text = "x" * 3_000_000
    assert run(["sh", "-c", "sleep 0.4; cat"], stdin=text).out == text


def test_the_operator_stops_it() -> None:
    stopped = Run()
    threading.Timer(0.2, stopped.stop.set).start()
    begin = time.monotonic()
    with stopped.at_work(), pytest.raises(Aborted):
        run(["sleep", "30"])
    assert time.monotonic() - begin < 10


def test_another_run_goes_on() -> None:
    stopped = Run()
    stopped.stop.set()
    with stopped.at_work(), Run().at_work():
        assert run(["sh", "-c", "sleep 0.6; echo done"]).out == "done\n"


def test_what_must_be_finished_is() -> None:
    stopped = Run()
    stopped.stop.set()
    with stopped.at_work():
        assert run(["sh", "-c", "sleep 0.6; echo done"], finish=True).out == "done\n"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(OnestackError) as caught:
        run(["/nonexistent/program", "x"])
    assert caught.value.what == "/nonexistent/program x cannot be run"
    assert caught.value.why == "/nonexistent/program is not there"
    with pytest.raises(OnestackError, match="cannot be run") as other:
        run(["ls"], cwd=Path("/nonexistent"))
    assert other.value.why == "/nonexistent is not there"


def test_a_signal_is_named() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "kill -KILL $$"])
    assert "ended by SIGKILL" in caught.value.why


def test_messages_are_in_english_and_sbin_is_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    out = run(["sh", "-c", "echo $LC_ALL $PATH $EXTRA"], env={"EXTRA": "more"}).out.split()
    assert out[0] == "C.UTF-8"
    assert "/usr/sbin" in out[1].split(":")
    assert out[2] == "more"


def test_commands_of_a_killed_run_are_ended_with_their_children() -> None:
    """What `run` starts carries our mark; that of a process that is gone is an orphan's."""
    assert run(["sh", "-c", f"echo ${orphans.MARK}"]).out.strip() == orphans.identity(os.getpid())
    assert run(["sh", "-c", f"echo ${orphans.MARK}"], finish=True).out.strip() == ""
    gone = "4194304.1"  # no such process
    script = "sleep 77 >&- & echo $!; echo $$; exec >&-; wait"
    pipe = os.popen(f"{orphans.MARK}={gone} setsid sh -c '{script}' 2>/dev/null &")
    pids = [int(line) for line in pipe.read().split()]
    assert set(pids) <= set(orphans.orphans())
    assert orphans.end_orphans() >= 2
    assert all(not orphans.identity(pid) for pid in pids)
    assert orphans.end_orphans() == 0


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="it becomes another user")


def followed(program: str, told: list[str], stdin: str = "") -> int:
    env = {"PATH": "/usr/bin:/bin"}
    words = ["sh", "-c", program]
    done = follow(words, told.append, user="nobody", env=env, cwd=Path("/"), stdin=stdin)
    told.append(done.err)
    return done.code


@needs_root
def test_each_line_is_handed_on_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "secret")
    told: list[str] = []
    program = 'id -un; id -Gn; echo "[$OURS]"; cat; echo >&2 no; printf last; exit 3'
    assert followed(program, told, "a\nb\n") == 3
    # what ends without a line's end is no line
    assert told == ["nobody", "nogroup", "[]", "a", "b", "no\n"]


@needs_root
def test_what_is_followed_is_ended_with_its_children() -> None:
    mark = f"8{os.getpid()}"
    stopped = Run()
    threading.Timer(0.3, stopped.stop.set).start()
    with stopped.at_work(), pytest.raises(Aborted):
        followed(f"sleep {mark} & sleep {mark}", [])
    assert not [p for p in _commands() if mark in p]
