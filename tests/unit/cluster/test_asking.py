"""What a controller's commands ask of hosts: where it lies, who gets it, and what is left of it."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import math
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onestack.cluster import asking, protocol, verbs
from onestack.cluster import client as clients
from onestack.cluster.asking import HALF_WRITTEN, MOST, OUT, Spool, Unawaited, pause
from onestack.cluster.client import DoorClient, Line, NoDoor, Place
from onestack.cluster.following import INTERVAL
from onestack.cluster.protocol import (
    AT_ONCE,
    LONGEST,
    LONGEST_ANSWER,
    SERVER,
    Answer,
    Asked,
    Question,
    Refusal,
)
from onestack.components import certificates
from onestack.components.door.inside import answering
from onestack.components.door.inside.answering import AWAY, MARGIN, Answering, Ran, ran
from onestack.model.errors import OnestackError
from tests.support.door import OpenDoor, needs_haproxy
from tests.support.needs import needs_root
from tests.unit.cluster.test_door import joined, other_authority

WEB1, WEB2 = str(uuid.uuid4()), str(uuid.uuid4())


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def names(spool: Spool) -> list[str]:
    return sorted(os.listdir(spool.folder))


def said(question: Question, out: str = "all is well\n", code: int = 0) -> Answer:
    return Answer(question.id, code, out, "")


def taken(spool: Spool, identity: str = WEB1) -> Question:
    found = spool.take(identity)
    assert found is not None
    return found


# -- where it lies ------------------------------------------------------------------


def test_a_question_is_answered_and_nothing_is_left(spool: Spool) -> None:
    waiting = spool.ask(WEB1, "status", ["nova"], 60)
    assert not waiting.taken and waiting.answer() is None
    (name,) = names(spool)
    assert (spool.folder / name).stat().st_mode & 0o777 == 0o600
    question = taken(spool)
    assert (question.verb, question.options) == ("status", ("nova",))
    assert 59 < question.seconds <= 60 and waiting.taken
    assert spool.expects(WEB1) and not spool.expects(WEB2)
    spool.answer(WEB1, said(question))
    answer = waiting.answer()
    assert answer is not None and (answer.code, answer.out) == (0, "all is well\n")
    assert {(spool.folder / n).stat().st_mode & 0o777 for n in names(spool)} == {0o600}
    assert not waiting.lost
    waiting.withdraw()
    assert names(spool) == []


def test_a_question_is_for_one_host_and_for_one_time(spool: Spool) -> None:
    waiting = spool.ask(WEB1, "restart", ["nova"], 60)
    assert spool.take(WEB2) is None
    taken(spool)
    # Its answer may have been lost on the way: what restarts something is not run twice.
    assert spool.take(WEB1) is None
    waiting.withdraw()


def test_two_that_come_at_once_are_not_given_one_question(spool: Spool) -> None:
    waiting = [spool.ask(WEB1, "status", [], 60) for _ in range(20)]
    with ThreadPoolExecutor(8) as pool:
        found = [q for q in pool.map(spool.take, [WEB1] * 60) if q]
    assert len({q.id for q in found}) == len(found) == 20
    for one in waiting:
        one.withdraw()


def test_an_answer_is_of_who_was_asked_and_comes_once(spool: Spool) -> None:
    waiting = spool.ask(WEB1, "status", [], 60)
    with pytest.raises(Unawaited):
        spool.answer(WEB1, Answer(waiting.id, 0, "too early", ""))
    question = taken(spool)
    for identity, key in ((WEB2, question.id), (WEB1, "0" * 32), (WEB1, "../../x"), ("..", "")):
        with pytest.raises(Unawaited):
            spool.answer(identity, Answer(key, 0, "mine", ""))
    spool.answer(WEB1, said(question, "first"))
    with pytest.raises(Unawaited):
        spool.answer(WEB1, said(question, "second"))
    answer = waiting.answer()
    assert answer is not None and answer.out == "first"
    waiting.withdraw()
    with pytest.raises(Unawaited):
        spool.answer(WEB1, said(question, "late"))
    assert names(spool) == []


ASKS = """
import sys, time
from pathlib import Path
from onestack.cluster.asking import Spool
kept = Spool(Path(sys.argv[1])).ask(sys.argv[2], "restart", ["nova"], 600)
print("asked", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def somebody_asks(spool: Spool) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", ASKS, str(spool.folder), WEB1]
    source = str(Path(asking.__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": source}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout and process.stdout.readline() == "asked\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def test_what_a_killed_command_asked_is_not_run(spool: Spool) -> None:
    with somebody_asks(spool):
        assert len(names(spool)) == 1
    assert spool.take(WEB1) is None
    spool.sweep()
    assert names(spool) == []


def test_nor_is_its_answer_kept(spool: Spool) -> None:
    with somebody_asks(spool):
        question = taken(spool)
    with pytest.raises(Unawaited):
        spool.answer(WEB1, said(question))
    spool.sweep()
    assert names(spool) == []
    with somebody_asks(spool):
        question = taken(spool)
        spool.answer(WEB1, said(question))
        assert len(names(spool)) == 2
    spool.sweep()
    assert names(spool) == []


Between = Callable[[], object]


def between(spool: Spool, monkeypatch: pytest.MonkeyPatch, then: Between) -> None:
    """``then`` happens once, after a look at the folder's names and before one at its files."""
    look, left = os.listdir, [then]

    def listdir(folder: Path) -> list[str]:
        found = look(folder)
        if left:
            left.pop()()
        return found

    monkeypatch.setattr(os, "listdir", listdir)


POLLS: tuple[Callable[[Spool], object], ...] = (Spool.sweep, lambda spool: spool.take(WEB2))


@pytest.mark.parametrize("poll", POLLS)
def test_an_answer_that_comes_while_another_host_asks(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, poll: Callable[[Spool], object]
) -> None:
    """What a look at the folder has found is called otherwise by then."""

    def answered() -> None:
        spool.answer(WEB1, said(taken(spool)))

    waiting = spool.ask(WEB1, "status", [], 60)
    between(spool, monkeypatch, answered)
    poll(spool)
    assert waiting.answer() is not None
    waiting.withdraw()
    waiting, question = spool.ask(WEB1, "status", [], 60), taken(spool)
    between(spool, monkeypatch, lambda: spool.answer(WEB1, said(question)))
    poll(spool)
    assert waiting.answer() is not None
    # Nor need a look find all the names of a folder that is changed meanwhile.
    monkeypatch.setattr(os, "listdir", lambda _: [f"{WEB1}.{question.id}.answer"])
    poll(spool)
    assert waiting.answer() is not None
    waiting.withdraw()


def test_what_cannot_be_opened_is_not_taken_for_abandoned(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(*given: object) -> int:
        raise OSError(24, "Too many open files")

    waiting, question = spool.ask(WEB1, "status", [], 60), taken(spool)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", too_many)
        spool.sweep()
        assert spool.take(WEB2) is None and spool.expects(WEB1)
    spool.answer(WEB1, said(question))
    assert waiting.answer() is not None
    waiting.withdraw()


def test_what_is_another_hosts_is_not_opened(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [spool.ask(WEB1, "status", [], 60) for _ in range(3)]
    taken(spool)

    def opened(*given: object) -> int:
        raise AssertionError(given)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", opened)
        assert spool.take(WEB2) is None and not spool.expects(WEB2)
        with pytest.raises(Unawaited):
            spool.answer(WEB2, Answer(waiting[0].id, 0, "", ""))
    for one in waiting:
        one.withdraw()


def test_an_answer_is_sent_anew_to_a_door_that_was_killed_while_it_kept_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: object) -> None:
        raise SystemExit

    waiting, question = spool.ask(WEB1, "restart", ["nova"], 60), taken(spool)
    with monkeypatch.context() as patched:
        patched.setattr(asking, "write", killed)
        with pytest.raises(SystemExit):
            spool.answer(WEB1, said(question))
    assert not waiting.lost and spool.take(WEB1) is None
    spool.answer(WEB1, said(question))
    assert waiting.answer() is not None
    waiting.withdraw()


def test_an_answer_that_is_sent_twice_at_once_is_kept_once(spool: Spool) -> None:
    waiting, question = spool.ask(WEB1, "status", [], 60), taken(spool)

    def sent(number: int) -> bool:
        try:
            spool.answer(WEB1, said(question, f"{number}" * 100_000))
        except Unawaited:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(sent, range(8)))
    assert sum(kept) == 1 and len(names(spool)) == 2
    answer = waiting.answer()
    assert answer is not None and answer.out == f"{kept.index(True)}" * 100_000
    waiting.withdraw()


def test_what_was_half_written_goes_too(spool: Spool) -> None:
    for name, age in ((".old.new", HALF_WRITTEN + 1), (".now.new", 0.0)):
        (spool.folder / name).write_text("{")
        os.utime(spool.folder / name, (0, time.time() - age))
    spool.sweep()
    assert names(spool) == [".now.new"]


def test_what_comes_too_late_is_not_handed_out(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of who still holds it: somebody has stopped that command."""
    waiting = spool.ask(WEB1, "restart", ["nova"], 60)
    later = asking.now() + 61
    monkeypatch.setattr(asking, "now", lambda: later)
    assert spool.take(WEB1) is None
    waiting.withdraw()


def test_what_is_taken_back_is_not_handed_out(spool: Spool) -> None:
    waiting = spool.ask(WEB1, "restart", ["nova"], 60)
    assert waiting.take_back() and spool.take(WEB1) is None
    waiting.withdraw()
    waiting = spool.ask(WEB1, "restart", ["nova"], 60)
    taken(spool)
    assert not waiting.take_back(), "it is told to who asked that it was too late"
    waiting.withdraw()


def test_so_much_is_asked_at_once(spool: Spool) -> None:
    for number in range(MOST):
        (spool.folder / f".{number}.new").touch()
    with pytest.raises(OnestackError, match="too much is asked"):
        spool.ask(WEB1, "status", [], 60)
    with pytest.raises(OnestackError, match="cannot be asked"):
        Spool(spool.folder / "none").ask(WEB1, "status", [], 60)
    assert Spool(spool.folder / "none").take(WEB1) is None


def test_a_list_of_hosts_that_is_not_the_cloudsown_leads_nowhere(spool: Spool) -> None:
    """The door keeps that list, and root writes where it says."""
    with pytest.raises(OnestackError):
        spool.ask("../../etc/passwd", "status", [], 60)
    assert names(spool) == []


def test_root_reads_what_is_a_file_and_nothing_else(spool: Spool, tmp_path: Path) -> None:
    """The folder is the door's."""
    secret = tmp_path.parent / "secret"
    secret.write_text(json.dumps({"id": "x", "code": 0, "out": "root's own", "err": ""}))
    waiting = spool.ask(WEB1, "status", [], 60)
    place = spool.path(WEB1, waiting.id, asking.ANSWERED)
    place.symlink_to(secret)
    assert waiting.answer() is None
    place.unlink()
    os.mkfifo(place)
    assert waiting.answer() is None, "and waits for nobody who could write there"
    place.unlink()
    place.write_text("[" * 100_000)
    assert waiting.answer() is None
    place.write_text(json.dumps({"id": "x", "code": 0, "out": "x" * (9 << 20), "err": ""}))
    assert waiting.answer() is None
    waiting.withdraw()


def test_what_a_host_says_is_text(spool: Spool) -> None:
    """By whatever way it came there."""
    rude = "x" * (2 * OUT) + "\x1b]0;x\x07\x1b[2J\u202e\ud800\ta\r\n"
    waiting = spool.ask(WEB1, "status", [], 60)
    spool.answer(WEB1, Answer(taken(spool).id, 0, rude, rude))
    answer = waiting.answer()
    assert answer is not None
    for text in (answer.out, answer.err):
        assert not set(text) & set("\x1b\x07\u202e\ud800\r\t")
        assert "?]0;x??[2J??" in text and text.endswith("a?\n")
    assert len(answer.out) == OUT and len(answer.err) == asking.ERR
    place = spool.path(WEB1, waiting.id, asking.ANSWERED)
    kept = json.loads(place.read_text())
    assert (kept["out"], kept["err"]) == (answer.out, answer.err), "nor is it kept otherwise"
    place.write_text(json.dumps({"id": "x", "code": 0, "out": "\x1b[2J", "err": ""}))
    again = waiting.answer()
    assert again is not None and again.out == "?[2J"
    waiting.withdraw()


@pytest.mark.parametrize("character", ["a", '"', "\u00e9", "\ufffd", "\U0001f600"])
def test_an_answer_of_any_characters_is_read_as_it_was_kept(spool: Spool, character: str) -> None:
    waiting = spool.ask(WEB1, "logs", [], 60)
    spool.answer(WEB1, Answer(taken(spool).id, 0, character * OUT, character * asking.ERR))
    answer = waiting.answer()
    assert answer is not None and answer.out == character * OUT and not answer.cut
    waiting.withdraw()


def test_a_long_answer_costs_the_door_little(spool: Spool) -> None:
    """Tabs become eight characters each, of what is kept alone."""
    waiting = spool.ask(WEB1, "logs", [], 60)
    answer = Answer(taken(spool).id, 0, "\t" * LONGEST_ANSWER, "")
    tracemalloc.start()
    try:
        spool.answer(WEB1, answer)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * LONGEST_ANSWER
    found = waiting.answer()
    assert found is not None and found.out == " " * OUT and found.cut
    waiting.withdraw()


def test_folders_among_the_questions_break_nothing(spool: Spool) -> None:
    """Who has taken over the door makes of its folder what it likes."""
    waiting = spool.ask(WEB1, "status", [], 60)
    spool.path(WEB1, waiting.id, asking.ASKED).unlink()
    for state in (asking.ASKED, asking.TAKEN, asking.ANSWERED):
        spool.path(WEB1, waiting.id, state).mkdir()
    assert not waiting.take_back() and not waiting.lost and waiting.answer() is None
    assert spool.take(WEB1) is None
    spool.sweep()
    waiting.withdraw()


def test_an_answer_that_cannot_be_kept_is_known_to_be_lost(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    waiting = spool.ask(WEB1, "status", [], 60)
    question = taken(spool)
    monkeypatch.setattr(asking, "write", full)
    with pytest.raises(OSError):
        spool.answer(WEB1, said(question))
    assert waiting.lost
    waiting.withdraw()


def test_many_hosts_come_less_often() -> None:
    assert pause(1) == pause(50) == 2.0
    assert pause(100) == 4.0 and pause(10_000) == asking.LONGEST_PAUSE


# -- what may be asked ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("status", ["--json", "nova/api"]),
        ("status", ["cinder-nbd-web1.example"]),
        ("doctor", ["--hours=0.5", "--json"]),
        ("logs", ["--lines=20", "nova"]),
        ("restart", ["--timeout=120", "neutron/ovn-agent"]),
        ("blame", ["--verb=up", "-n20"]),
    ],
)
def test_what_may_be_asked(verb: str, words: list[str]) -> None:
    assert verbs.misfit(verb, words) == ""


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("destroy", ["--yes"]),
        ("up", []),
        ("", []),
        ("status", ["--root=/"]),
        ("status", ["--name", "x"]),
        ("status", ["-x"]),
        ("status", ["../x"]),
        ("status", ["nova\n"]),
        ("status", ["nova api"]),
        ("status", ["nova\0"]),
        ("status", ["--host=all"]),
        ("status", ["x"] * 9),
        ("doctor", ["--hours=inf"]),
        ("doctor", ["--facts"]),
        ("doctor", ["--hours=-1"]),
        ("logs", ["--follow"]),
        ("logs", ["-f"]),
        ("logs", ["--lines=-1"]),
        ("restart", ["--timeout=1e9"]),
        ("restart", ["--timeout=10000"]),
        ("blame", ["--verb=UP"]),
    ],
)
def test_what_may_not(verb: str, words: list[str]) -> None:
    assert verbs.misfit(verb, words)


def test_how_long_one_may_take() -> None:
    """As it is written for `timeout`, to which 0 is no limit."""
    for text in ("1", "58", str(verbs.LONGEST)):
        assert re.fullmatch(verbs.SECONDS, text)
    for text in ("", "0", "00", "010", "-1", "1.5", str(verbs.LONGEST + 1), "inf"):
        assert not re.fullmatch(verbs.SECONDS, text)


# -- on the host ----------------------------------------------------------------------


class Controller:
    """What a host asks, and sends to; ``now`` is the host's own time."""

    def __init__(self) -> None:
        self.now, self.questions = 1000.0, list[Question]()
        self.problem: Exception | None = None
        self.on_the_way = 0.0
        self.runs: list[tuple[str, int]] = []
        self.answers: list[Answer] = []
        self.pause = 2.0
        self.takes = 0.0
        self.refused: list[Exception] = []

    def ask(self) -> Asked:
        if self.problem:
            raise self.problem
        self.now += self.on_the_way
        return Asked(self.questions.pop(0) if self.questions else None, self.pause)

    def send(self, answer: Answer) -> None:
        if self.refused:
            raise self.refused.pop(0)
        self.answers.append(answer)

    def run(self, question: Question, seconds: int) -> Ran:
        self.runs.append((question.verb, seconds))
        self.now += self.takes
        return Ran(1, "out", "err")

    def host(self) -> Answering:
        return Answering(self.ask, self.send, self.run, lambda: self.now)


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    class AtOnce(threading.Thread):
        def start(self) -> None:
            self.run()

    made = Controller()
    monkeypatch.setattr("onestack.components.door.inside.answering.threading.Thread", AtOnce)

    def sleep(seconds: float) -> None:
        made.now += seconds

    monkeypatch.setattr("onestack.components.door.inside.answering.time.sleep", sleep)
    return made


def test_it_is_run_and_answered(controller: Controller) -> None:
    controller.questions = [Question("a", "status", ("nova",), 60.0)]
    assert controller.host().step() == 2.0
    assert controller.runs == [("status", 60 - int(MARGIN))]
    assert controller.answers == [Answer("a", 1, "out", "err")]


def test_what_was_long_on_its_way_is_not_run(controller: Controller) -> None:
    """Whatever the clocks say: time is counted from before it was asked for."""
    controller.questions = [Question("a", "restart", ("nova",), 60.0)]
    controller.on_the_way = 59.0
    controller.host().step()
    assert not controller.runs and not controller.answers
    for seconds in (math.nan, -math.inf, -1.0, 0.0):
        controller.questions = [Question("a", "restart", ("nova",), seconds)]
        controller.on_the_way = 0.0
        controller.host().step()
    assert controller.runs == []
    controller.questions = [Question("a", "restart", ("nova",), math.inf)]
    controller.host().step()
    assert controller.runs == [("restart", verbs.LONGEST)]


def test_what_took_too_long_is_not_sent(controller: Controller) -> None:
    controller.questions = [Question("a", "restart", ("nova",), 60.0)]
    controller.takes = 61.0
    controller.host().step()
    assert controller.runs and not controller.answers


def test_an_answer_waits_for_a_door_that_is_started_anew(controller: Controller) -> None:
    controller.questions = [Question("a", "status", (), 60.0)]
    controller.refused = [NoDoor("nothing listens there"), OSError("no certificate")]
    controller.host().step()
    assert len(controller.answers) == 1
    controller.questions = [Question("b", "status", (), 60.0)]
    controller.refused = [Refusal("nobody waits for that answer"), NoDoor("x")]
    controller.host().step()
    assert len(controller.answers) == 1, "it is said once"
    assert len(controller.refused) == 1
    controller.questions = [Question("c", "status", (), 60.0)]
    controller.refused = [NoDoor("nothing listens there") for _ in range(1000)]
    controller.host().step()
    assert 1000 - len(controller.refused) == 6, "for as long as somebody waits, and less often"


def test_what_is_longer_than_the_door_takes_is_shortened(controller: Controller) -> None:
    """A byte that is no text takes six."""
    of, text = controller.host(), "\ufffd" * (OUT - 4) + "end\n"
    of.run = lambda question, seconds: Ran(0, text, "x" * asking.ERR)
    controller.questions = [Question("a", "logs", (), 60.0)]
    of.step()
    (answer,) = controller.answers
    assert len(protocol.said(answer)) <= LONGEST_ANSWER and answer.cut
    assert text.endswith(answer.out) and len(answer.out) > OUT // 3
    # As much as ends in time, too, where it is not the verb that is long.
    controller.questions = [Question("a" * (LONGEST_ANSWER + 1), "logs", (), 60.0)]
    of.step()
    assert controller.answers[-1].out == ""


@pytest.mark.parametrize(
    ("verb", "words"),
    [("destroy", ("--yes",)), ("status", ("--root=/",)), ("status", ("a\0",)), ("", ())],
)
def test_what_a_host_does_not_do_for_its_controller(
    controller: Controller, verb: str, words: tuple[str, ...]
) -> None:
    controller.questions = [Question("a", verb, words, 60.0)]
    controller.host().step()
    assert controller.runs == []
    (answer,) = controller.answers
    assert answer.code == 2 and "runs no such thing" in answer.err


def test_how_soon_it_asks_again(controller: Controller) -> None:
    of = controller.host()
    for told, made in ((4.0, 4.0), (0.0, 1.0), (-5.0, 1.0), (1e300, 30.0), (math.nan, 30.0)):
        controller.pause = told
        assert of.step() == made
    controller.problem = NoDoor("nothing listens there")
    assert of.step() == AWAY
    controller.problem = FileNotFoundError(2, "No such file", "host.pem")
    assert of.step() == AWAY
    # one that was removed, and a door that is older
    controller.problem = Refusal("the door knows no POST", exit_code=2)
    assert of.step() == INTERVAL


def test_so_many_are_answered_at_once(tmp_path: Path) -> None:
    go, running = threading.Event(), threading.Semaphore(0)
    asked: list[int] = []

    def ask() -> Asked:
        asked.append(1)
        return Asked(Question("a", "status", (), 600.0), 1.0)

    def run(question: Question, seconds: int) -> Ran:
        running.release()
        assert go.wait(60)
        return Ran(0, "", "")

    of = Answering(ask, lambda answer: None, run)
    for _ in range(AT_ONCE):
        of.step()
        assert running.acquire(timeout=60)
    waits = threading.Thread(target=of.step)
    waits.start()
    waits.join(0.2)
    assert waits.is_alive() and len(asked) == AT_ONCE, "what it cannot run it does not take"
    go.set()
    waits.join(60)
    assert len(asked) == AT_ONCE + 1


def shell(text: str, seconds: int = 60, most: tuple[int, int] = (100, 10)) -> Ran:
    return ran(("/bin/sh", "-c", text), seconds, most)


def test_what_a_verb_prints_is_kept() -> None:
    assert shell("echo out; echo err >&2; exit 3") == Ran(3, "out\n", "err\n")
    assert shell("read x || echo nobody") == Ran(0, "nobody\n", "")
    assert shell("kill -9 $$").code == 137


def test_so_much_of_it() -> None:
    """The last of it, which is what one wants of a log; and it ends as it would."""
    found = shell("seq 100000; exit 3", most=(1000, 10))
    assert found.cut and len(found.out) == 1000 and found.code == 3
    assert found.out.endswith("\n99999\n100000\n")
    found = shell("seq 100000 >&2; echo out", most=(1000, 10))
    assert found.cut and found.err == "99\n100000\n" and found.out == "out\n"
    assert not shell("printf %0100d 0").cut
    assert shell("printf %0101d 0").cut


def test_one_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("/usr/bin/timeout", "--kill-after=5", "1", "/bin/sh", "-c", "echo a; exec sleep 60")
    found = ran(words, 1)
    assert (found.code, found.out) == (124, "a\n") and "not ended within 1 s" in found.err
    monkeypatch.setattr(answering, "MARGIN", 0.0)
    began = time.monotonic()
    found = shell("echo a; exec sleep 60", 1)
    assert found.code == 124 and found.out == "a\n" and time.monotonic() - began < 30


def test_a_helper_that_is_not_there(tmp_path: Path) -> None:
    found = ran((str(tmp_path / "none"),), 5)
    assert found.code == 1 and "could not be run" in found.err


FAILS = """
from onestack.components.door.inside import answering
import time

class Broken(answering.Answering):
    def step(self):
        raise ZeroDivisionError

answering.answer(Broken(None, None, None))
time.sleep(600)
"""


def test_a_thread_that_fails_ends_the_process() -> None:
    """Its supervisor starts it anew; else nobody would answer, and nobody would know."""
    env = {**os.environ, "PYTHONPATH": str(Path(asking.__file__).parents[2])}
    words = [sys.executable, "-c", FAILS]
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


# -- at the door ------------------------------------------------------------------------


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each one that is opened by a client in this process."""
    made: list[object] = []
    connect: Callable[..., socket.socket] = socket.create_connection

    def counted(*given: object, **more: object) -> socket.socket:
        made.append(given)
        return connect(*given, **more)

    monkeypatch.setattr("onestack.cluster.client.socket.create_connection", counted)
    return made


@needs_root
@needs_haproxy
def test_a_question_goes_to_a_host_and_its_answer_back(
    door: OpenDoor, tmp_path: Path, connections: list[object]
) -> None:
    """By one connection, however often it asks."""
    standing, own = joined(door, tmp_path)
    line = Line(lambda: door.client(own))
    connections.clear()
    for _ in range(20):
        assert line.ask(protocol.ASKED, Asked) == Asked(None, 2.0)
    waiting = door.app.spool.ask(standing.identity, "status", ["nova"], 60)
    asked = line.ask(protocol.ASKED, Asked)
    assert asked.question and asked.question.id == waiting.id
    assert line.ask(protocol.ASKED, Asked).question is None
    assert len(connections) == 1
    # As many bytes as are kept of it, and all of them written at length.
    answer = said(asked.question, "\u00e9" * (OUT // 2))
    door.client(own).ask("POST", protocol.ANSWER, dict[str, str], answer)
    found = waiting.answer()
    assert found is not None and found.out == answer.out
    with pytest.raises(Refusal):
        door.client(own).ask("POST", protocol.ANSWER, dict[str, str], said(asked.question))
    waiting.withdraw()
    line.close()


@needs_root
@needs_haproxy
def test_a_connection_that_was_closed_is_opened_anew(
    door: OpenDoor, tmp_path: Path, connections: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a front that was started anew."""
    _, own = joined(door, tmp_path)
    line = Line(lambda: door.client(own))
    line.ask(protocol.ASKED, Asked)
    door.front.stop()
    with pytest.raises(NoDoor):
        line.ask(protocol.ASKED, Asked)
    door.front.start()
    line.ask(protocol.ASKED, Asked)
    door.front.stop()
    door.front.start()
    connections.clear()
    line.ask(protocol.ASKED, Asked)
    assert len(connections) == 1, "without a word of what was in between"
    # What is shown at the begin of a connection is looked at once in a while.
    monkeypatch.setattr(clients, "CONNECTED", 0.0)
    line.ask(protocol.ASKED, Asked)
    assert len(connections) == 2
    door.hosts.remove("web1")
    with pytest.raises(Refusal, match="none of the cloud's any more"):
        line.ask(protocol.ASKED, Asked)
    line.close()


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", '"x"', "{}"])
def test_a_refusal_that_is_none_is_no_doors(number: str) -> None:
    """Of what answers there, which may be anybody, nothing ends the host's process."""
    told = '"what": "x", "why": "", "cure": "", "gone": false'
    raw = f'{{"refused": {{{told}, "exit_code": {number}}}}}'.encode()
    with pytest.raises(NoDoor):
        DoorClient(Place("192.0.2.1"), "").heard(Asked, raw)


@needs_root
@needs_haproxy
def test_the_door_removes_once_in_a_while_what_nobody_waits_for(
    door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, own = joined(door, tmp_path)
    door.client(own).ask("POST", protocol.ASKED, Asked)
    with somebody_asks(door.app.spool):
        pass
    door.client(own).ask("POST", protocol.ASKED, Asked)
    assert len(names(door.app.spool)) == 1, "it costs more than one question is worth"
    later = asking.now() + asking.SWEEP
    monkeypatch.setattr(asking, "now", lambda: later)
    door.client(own).ask("POST", protocol.ASKED, Asked)
    assert names(door.app.spool) == []


@needs_root
@needs_haproxy
def test_who_is_no_host_is_asked_nothing_and_answers_nothing(
    door: OpenDoor, tmp_path: Path
) -> None:
    standing, own = joined(door, tmp_path)
    _, other = joined(door, tmp_path, "web2", address="192.0.2.8")
    waiting = door.app.spool.ask(standing.identity, "status", [], 60)
    for client in (door.client(), door.client(other)):
        if client.own is None:
            with pytest.raises(Refusal, match="only a host"):
                client.ask("POST", protocol.ASKED, Asked)
        else:
            assert client.ask("POST", protocol.ASKED, Asked).question is None
        with pytest.raises(Refusal, match=r"only a host|nothing was asked of web2"):
            client.ask("POST", protocol.ANSWER, dict[str, str], Answer(waiting.id, 0, "x", ""))
    asked = door.client(own).ask("POST", protocol.ASKED, Asked)
    assert asked.question
    # Also by one that was asked something: each answers its own.
    second = door.hosts.member("web2").identity
    more = door.app.spool.ask(second, "status", [], 60)
    assert door.client(other).ask("POST", protocol.ASKED, Asked).question
    with pytest.raises(Refusal, match="nobody waits"):
        client.ask("POST", protocol.ANSWER, dict[str, str], Answer(waiting.id, 0, "x", ""))
    assert waiting.answer() is None
    for one in (waiting, more):
        one.withdraw()


def status_of(door: OpenDoor, path: str, length: int, own: tuple[Path, Path] | None) -> int:
    """Of a request that says that it is so long."""
    connection = http.client.HTTPSConnection(door.place.host, door.place.port, timeout=20)
    tls = ssl.create_default_context(cadata=door.ca)
    if own:
        tls.load_cert_chain(*own)
    plain = socket.create_connection((door.place.host, door.place.port), 20)
    connection.sock = tls.wrap_socket(plain, server_hostname=SERVER)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(length))
    connection.endheaders(b"x")
    try:
        return connection.getresponse().status
    finally:
        connection.close()


@needs_root
@needs_haproxy
def test_answers_of_hosts_alone_may_be_long(door: OpenDoor, tmp_path: Path) -> None:
    _, own = joined(door, tmp_path)
    assert status_of(door, protocol.ANSWER, LONGEST_ANSWER + 1, own) == 413
    # It was asked nothing, and nothing is read.
    assert status_of(door, protocol.ANSWER, LONGEST_ANSWER, own) == 400
    assert status_of(door, protocol.ANSWER, LONGEST + 1, None) == 413
    made = certificates.sign(
        *other_authority(tmp_path), certificates.named("web1"), certificates.CLIENT
    )
    strange = tmp_path / "c", tmp_path / "k"
    strange[0].write_text(made.certificate)
    strange[1].write_text(made.key)
    assert status_of(door, protocol.ANSWER, LONGEST + 1, strange) == 413
    assert status_of(door, protocol.ANSWER, LONGEST, strange) == 403
    assert status_of(door, protocol.FOLLOW, LONGEST + 1, own) == 413


def test_a_lock_is_who_waits(spool: Spool) -> None:
    """The door looks whether it is held, and never holds it against another look."""
    waiting = spool.ask(WEB1, "status", [], 60)
    with (
        spool.path(WEB1, waiting.id, asking.ASKED).open() as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    waiting.withdraw()
