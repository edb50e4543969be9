"""Verbs with --host: whom they mean, what is shown of it, and how they end."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from onestack.cli import asked, blame, doctor, logs, main, on_hosts, restart, status
from onestack.cluster import asking
from onestack.cluster.asking import Spool
from onestack.cluster.following import SILENT, Condition, Reports
from onestack.cluster.membership import Issued, Member, Membership, Wish
from onestack.cluster.protocol import Answer, Following, Projection, Question, Standing
from onestack.components import hosts as rooms
from onestack.components.door import verbs
from onestack.deploy.joining import Kept, Places
from onestack.model.cloud import FORMAT, Cloud, CloudRecord, HostRecord, record_path
from onestack.model.codec import to_plain
from onestack.model.errors import BadAnswers, NotYet, OnestackError, PreflightRefused
from onestack.supervise.states import State
from tests.support.door import OpenDoor, needs_haproxy, told
from tests.support.needs import needs_root
from tests.unit.cluster.test_door import joined as joined_at
from tests.unit.components.rooms import context

pytestmark = needs_root


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A controller's, whose door is open."""
    with tempfile.TemporaryDirectory(prefix="on-hosts-") as place:
        ctx = context(Path(place))
        (ctx.cloud.etc / "door").mkdir(parents=True)
        (ctx.cloud.etc / "door" / "ca.pem").write_text("the hosts' authority\n")
        (ctx.cloud.data / "door").mkdir(parents=True)
        verbs.spool(ctx.cloud).mkdir(parents=True)
        own = HostRecord("head", ("controller",))
        record = CloudRecord("onestack", None, FORMAT, "2026.2", (own,))
        record_path(ctx.cloud.root).write_text(record.text)
        monkeypatch.setattr(asked, "closed_door", lambda cloud: None)
        yield ctx.cloud


def joined(cloud: Cloud, *names: str) -> list[Member]:
    kept, made = Membership(cloud.data / "door"), []

    def sign(member: Member) -> Issued:
        return Issued("certificate", str(member.number), 4_000_000_000.0)

    for number, name in enumerate(names):
        token = kept.invite("ab" * 32, "compute", "", 3600)
        made.append(kept.join(token, Wish(name, f"192.0.2.{7 + number}", name), sign))
    kept.admitted([one.identity for one in made])
    return made


Says = Callable[[Question], tuple[int, str, str]]


@contextlib.contextmanager
def answering(cloud: Cloud, says: dict[str, Says]) -> Iterator[list[tuple[str, Question]]]:
    """Hosts (by their identities) that come, and what each says."""
    spool, end = Spool(verbs.spool(cloud)), threading.Event()
    taken: list[tuple[str, Question]] = []

    def come() -> None:
        while not end.wait(0.02):
            for identity, one in says.items():
                if question := spool.take(identity):
                    taken.append((identity, question))
                    code, out, err = one(question)
                    with contextlib.suppress(asking.Unawaited):
                        spool.answer(identity, Answer(question.id, code, out, err))

    thread = threading.Thread(target=come)
    thread.start()
    try:
        yield taken
    finally:
        end.set()
        thread.join()


def type_it(verb: ModuleType, cloud: Cloud, *words: str) -> int:
    parser = argparse.ArgumentParser()
    verb.options(parser)
    return int(verb.run(parser.parse_args([*words, "--root", str(cloud.root)])))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is run on this machine itself; it prints as much as it would."""
    ran: list[str] = []

    def here(name: str) -> Callable[[argparse.Namespace], int]:
        def run(args: argparse.Namespace) -> int:
            ran.append(name)
            print(json.dumps({"own": name}) if getattr(args, "json", False) else f"own {name}")
            return 0

        return run

    for verb in (blame, doctor, logs, restart, status):
        name = verb.__name__.rpartition(".")[2]
        monkeypatch.setattr(verb, "here", here(name))
    return ran


def left(cloud: Cloud) -> list[str]:
    return os.listdir(verbs.spool(cloud))


def says(code: int, out: str = "", err: str = "") -> Says:
    return lambda question: (code, out, err)


VERBS = ((blame, ()), (doctor, ()), (logs, ()), (restart, ("nova",)), (status, ()))


@pytest.mark.parametrize(("verb", "words"), VERBS)
def test_each_verb_is_asked_of_one_host(
    cloud: Cloud,
    own: list[str],
    capsys: pytest.CaptureFixture[str],
    verb: ModuleType,
    words: tuple[str, ...],
) -> None:
    """As if it were typed there."""
    (web1, _) = joined(cloud, "web1", "web2")
    with answering(cloud, {web1.identity: says(3, "out\n", "err\n")}) as taken:
        assert type_it(verb, cloud, *words, "--host", "WEB1.") == 3
    ((identity, question),) = taken
    assert identity == web1.identity and verb.__name__ == f"onestack.cli.{question.verb}"
    assert capsys.readouterr() == ("out\n", "err\n")
    assert own == left(cloud) == []


@pytest.mark.parametrize(
    ("verb", "typed", "sent"),
    [
        (status, ("nova/api",), ("nova/api",)),
        (doctor, ("--hours", "0.5"), ("--hours=0.5",)),
        (doctor, (), ("--hours=24",)),
        (logs, ("-n", "7", "nova"), ("--lines=7", "nova")),
        (restart, ("--timeout", "9", "nova"), ("--timeout=9", "nova")),
        (blame, ("--verb", "join", "-n", "3"), ("--verb=join", "-n3")),
    ],
)
def test_what_is_sent(
    cloud: Cloud, verb: ModuleType, typed: tuple[str, ...], sent: tuple[str, ...]
) -> None:
    (web1,) = joined(cloud, "web1")
    with answering(cloud, {web1.identity: says(0)}) as taken:
        type_it(verb, cloud, *typed, "--host", "web1")
    assert taken[0][1].options == sent
    # and is understood there
    parser = argparse.ArgumentParser(allow_abbrev=False)
    verb.options(parser)
    assert parser.parse_args(list(sent)) == parser.parse_args(list(typed))


def test_all_of_them_are_asked_at_once_and_shown_in_their_order(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    members = joined(cloud, "web2", "web1", "web3")
    together = threading.Barrier(4)

    def waits(question: Question) -> tuple[int, str, str]:
        together.wait(30)  # for all the others, which it would not meet one after the other
        return 0, f"{question.verb} there\nweb9:\n", ""

    with contextlib.ExitStack() as stack:
        for one in members:
            stack.enter_context(answering(cloud, {one.identity: waits}))
        threading.Thread(target=together.wait, args=(30,)).start()
        assert type_it(status, cloud, "--host", "all") == 0
    assert capsys.readouterr().out.splitlines() == [
        *("head (this machine):", "  own status"),
        *("web2:", "  status there", "  web9:"),
        *("web1:", "  status there", "  web9:"),
        *("web3:", "  status there", "  web9:"),
    ]
    assert own == ["status"] and left(cloud) == []


def test_one_object_for_scripts(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    web1, web2, web3, web4 = joined(cloud, "web1", "web2", "web3", "web4")
    for one in (web1, web2, web3):
        away(cloud, one, ago=1)
    away(cloud, web4)
    there = {
        web1.identity: says(1, '{"ready": false}', "a word"),
        web2.identity: says(2, "", "onestack: no such component\n"),
        web3.identity: says(0, "[" * 900 + "]" * 900),
    }
    with answering(cloud, there) as taken:
        assert type_it(status, cloud, "--json", "--host", "all") == 1
    assert [question.options for _, question in taken] == [("--json",)] * 3
    found = json.loads(capsys.readouterr().out)
    assert list(found) == sorted(["head", "web1", "web2", "web3", "web4"])
    assert found["head"] == {"own": "status"} and found["web1"] == {"ready": False}
    assert found["web2"] == {"error": "onestack: no such component"}
    assert found["web3"] == {"error": "it printed no JSON"}
    assert "is away since" in found["web4"]["error"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str], number: str
) -> None:
    (web1,) = joined(cloud, "web1")
    with answering(cloud, {web1.identity: says(0, f'{{"a": [1.5, {number}]}}')}):
        type_it(status, cloud, "--json", "--host", "all")
        found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert found["web1"] == {"error": "it printed no JSON"}
        with pytest.raises(OnestackError, match="is no JSON"):
            type_it(status, cloud, "--json", "--host", "web1")


def test_of_one_host_its_own_object(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    (web1,) = joined(cloud, "web1")
    with answering(cloud, {web1.identity: says(1, '{"a": "\\u001b[2J"}')}):
        assert type_it(status, cloud, "--json", "--host", "web1") == 1
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": "\x1b[2J"} and "\x1b" not in out
    with (
        answering(cloud, {web1.identity: says(0, '{"a": ')}),
        pytest.raises(OnestackError, match="is no JSON"),
    ):
        type_it(status, cloud, "--json", "--host", "web1")
    with answering(cloud, {web1.identity: says(2, "", "onestack: no such component\n")}):
        assert type_it(status, cloud, "--json", "--host", "web1") == 2
    assert capsys.readouterr() == ("", "onestack: no such component\n")


def test_nothing_that_a_terminal_would_obey(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (web1,) = joined(cloud, "web1")
    rude = "\x1b[2J\x1b]0;x\x07\r\u202eall is well\n"
    for whom in ("web1", "all"):
        with answering(cloud, {web1.identity: says(0, rude, rude)}):
            type_it(status, cloud, "--host", whom)
        out, err = capsys.readouterr()
        assert "all is well" in out and "all is well" in err
        assert not set(out + err) & set("\x1b\x07\r\u202e")


def away(cloud: Cloud, member: Member, ago: float = SILENT + 1) -> None:
    reports = Reports.below(cloud.data / "door")
    reports.put(member.identity, Following("x", "e"))
    heard = time.time() - ago
    os.utime(reports.folder / f"{member.identity}.json", (heard, heard))
    told(cloud)


def test_a_host_that_is_away_is_said_at_once_and_not_asked(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (web1,) = joined(cloud, "web1")
    away(cloud, web1)
    began = time.monotonic()
    with pytest.raises(OnestackError, match="web1 is away since 2") as problem:
        type_it(restart, cloud, "nova", "--host", "web1")
    assert "will not run this later" in problem.value.why and left(cloud) == []
    assert type_it(status, cloud, "--host", "all") == 1
    assert time.monotonic() - began < asked.COMES
    out, err = capsys.readouterr()
    assert out.splitlines() == ["head (this machine):", "  own status", "web1:"]
    assert "the host web1 is away since 2" in err


def test_one_that_does_not_come_is_asked_no_more(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has just gone, and nobody knows yet."""
    (web1,) = joined(cloud, "web1")
    monkeypatch.setattr(asked, "COMES", 0.3)
    monkeypatch.setattr(asked, "pause", lambda hosts: 0.0)
    away(cloud, web1, ago=5)
    with pytest.raises(OnestackError, match="web1 does not come") as problem:
        type_it(restart, cloud, "nova", "--host", "web1")
    assert "heard of last at" in problem.value.why and left(cloud) == []
    assert "busy with 4 others" in problem.value.why
    assert Spool(verbs.spool(cloud)).take(web1.identity) is None
    # Nor is it told otherwise where its time is over before it need have come.
    monkeypatch.setattr(asked, "COMES", 99.0)
    monkeypatch.setattr(on_hosts, "OTHERWISE", 0.3)
    with pytest.raises(OnestackError, match="web1 does not come"):
        type_it(status, cloud, "--host", "web1")


def test_one_of_many_comes_less_often_and_is_waited_for(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as many as the cloud has, which is what the door tells each, and not by the one asked."""
    members = joined(cloud, *(f"web{number}" for number in range(1, 7)))
    monkeypatch.setattr(asked, "COMES", 0.0)
    monkeypatch.setattr(asked, "pause", lambda hosts: 5.0 if hosts == len(members) else 0.0)
    there = {members[0].identity: says(0, "slow, and well\n")}

    end = threading.Event()

    def comes_late() -> None:
        time.sleep(1)
        with answering(cloud, there):
            end.wait(30)

    host = threading.Thread(target=comes_late)
    host.start()
    try:
        assert type_it(status, cloud, "--host", "web1") == 0
    finally:
        end.set()
        host.join()


def test_one_that_does_not_answer(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    (web1,) = joined(cloud, "web1")
    monkeypatch.setattr(on_hosts, "OTHERWISE", 0.5)
    go = threading.Event()

    def waits(question: Question) -> tuple[int, str, str]:
        go.wait(30)
        return 0, "late", ""

    with answering(cloud, {web1.identity: waits}):
        with pytest.raises(OnestackError, match=r"web1 has not answered within 0 s") as problem:
            type_it(status, cloud, "--host", "web1")
        assert "was given `status`, and may have begun" in problem.value.why and left(cloud) == []
        go.set()
    assert left(cloud) == [], "nor is what it says then kept"


def test_an_answer_that_the_door_lost(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    (web1,) = joined(cloud, "web1")

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    spool = Spool(verbs.spool(cloud))
    monkeypatch.setattr(asking, "write", full)

    def host() -> None:
        while (question := spool.take(web1.identity)) is None:
            time.sleep(0.02)
        with contextlib.suppress(OSError):
            spool.answer(web1.identity, Answer(question.id, 0, "x", ""))

    thread = threading.Thread(target=host)
    thread.start()
    with pytest.raises(OnestackError, match="what web1 answered is lost"):
        type_it(status, cloud, "--host", "web1")
    thread.join()


def test_who_is_interrupted_asks_no_more(
    cloud: Cloud, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(cloud, "web1")

    def interrupted(args: argparse.Namespace) -> int:
        assert len(left(cloud)) == 1, "asked before this machine's own part begins"
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "here", interrupted)
    with pytest.raises(KeyboardInterrupt):
        type_it(status, cloud, "--host", "all")
    assert left(cloud) == []


@pytest.mark.parametrize(
    ("codes", "one"),
    [
        ((0, 0), 0),
        ((0, 1), 1),
        ((0, 2), 2),
        ((2, 2), 2),
        ((3, 0, 0), 3),
        ((1, 2), 1),
        ((2, 3), 1),
        ((1, 2, 3), 1),
    ],
)
def test_how_all_of_them_end(codes: Sequence[int], one: int) -> None:
    assert on_hosts.worst(set(codes)) == one


@pytest.mark.parametrize("code", [124, 126, -1, 256, 1 << 70])
def test_a_host_ends_this_program_with_its_own_codes_alone(cloud: Cloud, code: int) -> None:
    (web1,) = joined(cloud, "web1")
    with answering(cloud, {web1.identity: says(code)}):
        assert type_it(status, cloud, "--host", "web1") == 1


def test_what_fails_here_is_told_beside_the_others(
    cloud: Cloud,
    own: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (web1,) = joined(cloud, "web1")

    def none(args: argparse.Namespace) -> int:
        print("before")
        raise BadAnswers("the cloud has no component or process 'nova-x'")

    monkeypatch.setattr(status, "here", none)
    with answering(cloud, {web1.identity: says(0, "there\n")}):
        assert type_it(status, cloud, "nova-x", "--host", "all") == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == ["head (this machine):", "  before", "web1:", "  there"]
    assert "no component or process 'nova-x'" in err


# -- whom it means -------------------------------------------------------------------


def test_this_machine_itself_is_asked_by_nobody(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    joined(cloud, "web1")
    assert type_it(status, cloud, "--host", "Head") == 0
    # what another host is not asked for is no matter here
    assert type_it(logs, cloud, "--follow", "--host", "head") == 0
    assert capsys.readouterr().out.splitlines() == ["own status", "own logs"]
    assert own == ["status", "logs"]


def test_a_name_that_no_host_has(cloud: Cloud, own: list[str]) -> None:
    joined(cloud, "web1", "web2")
    with pytest.raises(BadAnswers, match="no host 'web3'") as problem:
        type_it(status, cloud, "--host", "web3")
    assert problem.value.why == "there are: head, web1, web2" and problem.value.exit_code == 2
    assert own == []


def test_a_cloud_without_hosts_is_this_machine(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert type_it(status, cloud, "--host", "all") == 0
    assert type_it(status, cloud, "--json", "--host", "all") == 0
    out = capsys.readouterr().out
    assert out.startswith("head (this machine):\n  own status\n")
    assert json.loads(out.partition("status\n")[2]) == {"head": {"own": "status"}}
    # and with no door at all, as most are
    for file in ((cloud.etc / "door").glob("*"), (cloud.data / "door").glob("*")):
        for one in file:
            one.unlink()
    assert type_it(status, cloud, "--host", "all") == 0
    with pytest.raises(BadAnswers, match="no host 'web1'"):
        type_it(status, cloud, "--host", "web1")


def test_a_host_that_has_joined_knows_itself_alone(cloud: Cloud, own: list[str]) -> None:
    projection = Projection("head", "192.0.2.1", "2026.2", {})
    standing = Standing(
        *("onestack", "web1", 1, "identity", ("compute",), "192.0.2.7", "pem", True), projection
    )
    place = rooms.standing(cloud.etc)
    place.parent.mkdir()
    place.write_text(json.dumps(to_plain(Kept("https://192.0.2.1:9443", standing))))
    assert Places.of(cloud).kept()
    assert type_it(status, cloud, "--host", "web1") == 0
    for whom in ("all", "head", "web2"):
        with pytest.raises(OnestackError, match="not its controller") as problem:
            type_it(status, cloud, "--host", whom)
        assert "192.0.2.1" in problem.value.why and "on the controller" in problem.value.cure
    assert own == ["status"]


@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        (logs, ("-f", "nova"), "--follow does not go with --host"),
        (doctor, ("--facts",), "--facts and --markdown do not go with --host"),
        (doctor, ("--hours", "inf"), "cannot be asked for '--hours=inf'"),
        (logs, ("-n", "-1"), "cannot be asked for '--lines=-1'"),
        (restart, ("nova", "--timeout", "10000"), "cannot be asked for '--timeout=10000'"),
        (status, ("nova api",), "cannot be asked for 'nova api'"),
        (status, ("../x",), "cannot be asked for '../x'"),
        (restart, ("door",), "door is not restarted by --host"),
        (restart, ("door/follower",), "door/follower is not restarted by --host"),
        (restart, ("follower",), "follower is not restarted by --host"),
        (blame, ("--verb", "x y"), "cannot be asked for '--verb=x y'"),
    ],
)
def test_what_is_not_asked_of_another(
    cloud: Cloud, own: list[str], verb: ModuleType, words: tuple[str, ...], said: str
) -> None:
    joined(cloud, "web1")
    for whom in ("web1", "all"):
        with pytest.raises(BadAnswers, match=said.replace("(", r"\(")):
            type_it(verb, cloud, *words, "--host", whom)
    assert own == left(cloud) == []


def test_without_host_nothing_is_asked(cloud: Cloud, own: list[str]) -> None:
    joined(cloud, "web1")
    for verb, words in VERBS:
        type_it(verb, cloud, *words)
    assert len(own) == 5 and left(cloud) == []


def test_only_root_asks(cloud: Cloud, own: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one's own machine anybody may see where the time went."""
    joined(cloud, "web1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PreflightRefused):
        type_it(blame, cloud, "--host", "web1")
    # What the cloud has no ordinary user can read, and none is told to mend it.
    monkeypatch.setattr(on_hosts, "_hosts", pytest.fail)
    monkeypatch.setattr(on_hosts, "need_cloud", pytest.fail)
    with pytest.raises(PreflightRefused):
        type_it(blame, cloud, "--host", "all")
    assert type_it(blame, cloud) == 0
    assert not main.VERBS["blame"].root


# -- the door itself -----------------------------------------------------------------


class Supervisor:
    """What a supervisor says of the door's two processes."""

    def __init__(
        self,
        states: dict[str, State] | None,
        running: bool = True,
        fails: OnestackError | None = None,
    ) -> None:
        self._states, self._running = states, running
        self._fails = fails or NotYet("another version")

    def running(self) -> bool:
        return self._running

    def status(self) -> list[Any]:
        if self._states is None:
            raise self._fails
        return [
            SimpleNamespace(name=name, state=state, sentence="is not ready yet")
            for name, state in self._states.items()
        ]


@pytest.mark.parametrize(
    ("supervisor", "why"),
    [
        (Supervisor({}, running=False), "the cloud is down here"),
        (Supervisor({}), "the cloud has no door"),
        (Supervisor({"door": State.READY, "door-front": State.STARTING}), "door-front is not"),
        (Supervisor({"door": State.READY, "door-front": State.READY}), ""),
        (Supervisor(None), ""),
        (Supervisor(None, fails=OnestackError("it does not answer")), "it does not answer"),
    ],
)
def test_without_a_door_nobody_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor, why: str
) -> None:
    monkeypatch.setattr(asked, "Client", lambda cloud: supervisor)
    found = asked.closed_door(context(tmp_path).cloud)
    assert bool(found) == bool(why) and why in (found or ("",))[0]


def test_hosts_are_not_waited_for_where_the_door_is_closed(
    cloud: Cloud,
    own: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    joined(cloud, "web1", "web2")
    monkeypatch.setattr(asked, "closed_door", lambda cloud: ("the cloud is down here", "up"))
    assert type_it(status, cloud, "--host", "all") == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == ["head (this machine):", "  own status", "web1:", "web2:"]
    assert "web1 cannot be asked" in err and "web2 cannot be asked" in err and left(cloud) == []


def test_one_place_that_is_missing_is_told_of_each(
    cloud: Cloud, own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """After an update, before the first `up`."""
    joined(cloud, "web1")
    verbs.spool(cloud).rmdir()
    assert type_it(status, cloud, "--host", "all") == 1
    assert "onestack up makes its place" in capsys.readouterr().err


def test_what_each_condition_is_told(cloud: Cloud) -> None:
    (web1,) = joined(cloud, "web1")
    for word in asked.NOT_ASKED:
        at = Condition(word, "is something")
        with asked.questions(cloud, [(web1, at)], 1, "status", [], 60) as found:
            with pytest.raises(OnestackError, match="web1 is something") as problem:
                found.answer("web1")
            assert problem.value.cure and "{" not in problem.value.cure
    for word in ("current", "following", "failed", "other", "unknown"):
        with asked.questions(cloud, [(web1, Condition(word, "x"))], 1, "status", [], 60):
            assert len(left(cloud)) == 1


# -- all of it: a door, and a host's own process ------------------------------------------


FOLLOWS = """
import json, sys
from onestack.components.door.inside.following import follow
from onestack.model.process import Process
follow(Process("follower", "door", "root", arguments=json.loads(sys.argv[1])), {})
"""
LAUNCHER = """\
#!/bin/sh
echo "$@"
case $1 in
restart) echo begun >"{folder}/begun"; while :; do sleep 1; done ;;
esac
exit 3
"""
HELPER = """\
#!/bin/sh
exec "$@"
"""


@contextlib.contextmanager
def following(door: OpenDoor, own: tuple[Path, Path], folder: Path) -> Iterator[Any]:
    """The follower's own process, as the supervisor starts it; a helper that lets all through."""
    for name, text in (("launcher", LAUNCHER), ("helper", HELPER)):
        (folder / name).write_text(text.format(folder=folder) if "{" in text else text)
        (folder / name).chmod(0o755)
    (folder / "edition").write_text("another\n")
    arguments = {
        "door": str(door.place),
        "ca": str(rooms.ca(door.ctx)),
        "certificate": str(own[0]),
        "key": str(own[1]),
        "applied": str(folder / "applied"),
        "edition": str(folder / "edition"),
        "memory": str(folder / "memory"),
        "command": ["/bin/false"],
        "verb": [str(folder / "helper"), *verbs.LIMIT],
        "launcher": str(folder / "launcher"),
        "cloud": ["--name", "onestack", "--root", "/x"],
    }
    env = {**os.environ, "PYTHONPATH": str(Path(asking.__file__).parents[2])}
    words = [sys.executable, "-c", FOLLOWS, json.dumps(arguments)]
    with (folder / "log").open("w") as log, subprocess.Popen(words, stderr=log, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


@needs_haproxy
def test_from_the_command_to_the_host_and_back(
    door: OpenDoor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud = door.ctx.cloud
    monkeypatch.setattr(asked, "closed_door", lambda cloud: None)
    standing, shown = joined_at(door, tmp_path)
    door.hosts.admitted([standing.identity])
    with following(door, shown, tmp_path) as process:
        until = time.monotonic() + 60
        while door.app.reports.of(standing.identity) is None:
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.1)
        assert type_it(status, cloud, "nova", "--host", "web1") == 3
        assert capsys.readouterr().out == "status --name onestack --root /x nova\n"
        # The host's process is killed in the middle: it is told, and nothing runs for ever.
        monkeypatch.setattr(on_hosts, "OTHERWISE", 12.0)
        failed: list[OnestackError] = []

        def types() -> None:
            try:
                type_it(restart, cloud, "--timeout", "0", "nova", "--host", "web1")
            except OnestackError as error:
                failed.append(error)

        thread = threading.Thread(target=types)
        thread.start()
        until = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        thread.join(60)
        assert "has not answered within 12 s" in str(failed[0]) and left(cloud) == []
    until = time.monotonic() + 30
    while still_runs(str(tmp_path / "launcher")):
        assert time.monotonic() < until, "the host runs it for ever"
        time.sleep(0.2)


def still_runs(program: str) -> bool:
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if program.encode() in place.read_bytes().split(b"\0"):
                return True
    return False
