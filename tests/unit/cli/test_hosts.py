"""The verbs about other hosts: token, host, join, leave."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from onestack.answers.registry import registry
from onestack.cli import host, join, leave, lock, token, up
from onestack.cli.options import ResolvedAnswers
from onestack.cluster.client import Place
from onestack.cluster.following import Reports, revision
from onestack.cluster.membership import Issued, Member, Membership, Wish
from onestack.cluster.protocol import Following, Projection, Standing
from onestack.cluster.tokens import JoinToken
from onestack.components import hosts as rooms
from onestack.components.door import follower
from onestack.deploy import joining
from onestack.deploy.joining import Places, keep
from onestack.model.change import Change
from onestack.model.cloud import FORMAT, Cloud, CloudRecord, HostRecord, record_path
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, NotRunning, OnestackError, PreflightRefused
from onestack.model.host import Joined
from onestack.release.release import release
from onestack.supervise.client import Client
from onestack.supervise.protocol import PreloadStatus, SupervisorStatus
from tests.support.door import certified, told
from tests.support.needs import needs_root
from tests.unit.components.rooms import context

pytestmark = needs_root


def parsed(verb: ModuleType, cloud: Cloud, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verb.options(parser)
    return parser.parse_args([*words, "--root", str(cloud.root)])


def type_it(verb: ModuleType, cloud: Cloud, *words: str) -> int:
    return int(verb.run(parsed(verb, cloud, *words)))


@pytest.fixture
def short() -> Iterator[Path]:
    """A cloud's root may have sixty characters."""
    with tempfile.TemporaryDirectory(prefix="hosts-") as place:
        yield Path(place)


@pytest.fixture
def controller(short: Path) -> Cloud:
    ctx = context(short)
    certified(ctx)
    cloud = ctx.cloud
    (cloud.data / "door").mkdir(parents=True)
    cloud.address_file.write_text("192.0.2.1\n")
    own = CloudRecord("onestack", None, FORMAT, "2026.2", (HostRecord("head", ("controller",)),))
    record_path(cloud.root).write_text(own.text)
    return cloud


def hosts(cloud: Cloud) -> Membership:
    return Membership(cloud.data / "door")


def joined(cloud: Cloud, name: str = "web1") -> Member:
    def sign(member: Member) -> Issued:
        return Issued("certificate", "1", 4_000_000_000.0)

    made = hosts(cloud).invite("ab" * 32, "compute", "", 3600)
    return hosts(cloud).join(made, Wish(name, "192.0.2.7", "key"), sign)


def test_a_token_is_printed_as_it_is_to_be_typed(
    controller: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    assert type_it(token, controller, "create", "--ttl", "30m", "--host", "Web1") == 0
    onestack, verb, door, text = capsys.readouterr().out.split()
    assert (onestack, verb, door) == ("onestack", "join", "https://192.0.2.1:9443")
    (kept,) = hosts(controller).document().invitations
    read = JoinToken.read(text)
    assert read.fits(kept.hash) and (kept.name, kept.role) == ("web1", "compute")
    assert kept.ends - kept.created == 1800


def test_tokens_for_scripts_and_what_became_of_them(
    controller: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    type_it(token, controller, "create", "--json")
    made = json.loads(capsys.readouterr().out)
    type_it(token, controller, "list", "--json")
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["id"] == made["id"] and made["token"] not in str(listed)
    type_it(token, controller, "list")
    assert "good until" in capsys.readouterr().out
    type_it(token, controller, "revoke", made["id"])
    assert not hosts(controller).document().invitations


@pytest.mark.parametrize("text", ["", "1", "59s", "8d", "-1h", "1w", "99999999d"])
def test_how_long_a_token_cannot_be_good(text: str) -> None:
    with pytest.raises(BadAnswers, match="how long"):
        token.lasting(text)


def test_without_a_door_the_cure_is_said(short: Path) -> None:
    cloud = context(short).cloud
    cloud.etc.mkdir(parents=True)
    for verb, words in ((token, ("create",)), (host, ("list",))):
        with pytest.raises(OnestackError, match="has no door") as problem:
            type_it(verb, cloud, *words)
        assert problem.value.cure == "onestack up --set CONFIG_ONESTACK_JOIN=y"


def test_hosts_are_listed(controller: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    joined(controller)
    type_it(host, controller, "list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "head", "web1"]
    assert "joining" in lines[2]
    type_it(host, controller, "show", "WEB1", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["address"]) == ("web1", "192.0.2.7")
    with pytest.raises(OnestackError, match="no host called 'web2'"):
        type_it(host, controller, "show", "web2")


def test_how_far_each_has_followed_is_said(
    controller: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an admitted one nothing more is known before the controller's first `up`."""
    one = joined(controller)
    hosts(controller).admitted([one.identity])
    type_it(host, controller, "list")
    assert "onestack up tells" in capsys.readouterr().out
    settings = told(controller)
    wanted = revision(settings.standing(hosts(controller).member("web1")))
    reports = Reports.below(controller.data / "door")
    for said, word, sentence in (
        (Following(wanted, "e"), "current", "is up to date"),
        (Following("x", "e"), "following", "follows by itself"),
        (Following("x", "e", problem="no room\nmore"), "failed", "no room"),
        (Following(wanted, "f"), "other", "has another onestack"),
    ):
        reports.put(one.identity, said)
        type_it(host, controller, "list")
        assert sentence in capsys.readouterr().out.splitlines()[-1]
        type_it(host, controller, "show", "web1", "--json")
        shown = json.loads(capsys.readouterr().out)
        assert (shown["state"], shown["problem"]) == (word, said.problem)


def test_a_host_that_has_all_is_not_brought_up_again(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The follower's `up`, where somebody else's has just done it."""
    has_joined(controller, monkeypatch)
    follower.finish(controller)
    assert type_it(up, controller, "--if-told") == 0
    assert "All is there" in capsys.readouterr().out


def test_an_up_that_had_to_wait_does_not_run_right_behind(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has stopped his own wants to look first; and what has just failed fails again."""
    has_joined(controller, monkeypatch)

    @contextlib.contextmanager
    def waited(cloud: Cloud, verb: str, wait: bool) -> Iterator[bool]:
        yield wait

    monkeypatch.setattr("onestack.cli.up.lock.changing", waited)
    with pytest.raises(OnestackError, match="another onestack was at work") as problem:
        type_it(up, controller, "--if-told", "--wait")
    assert problem.value.exit_code == 1
    follower.finish(controller)
    assert type_it(up, controller, "--if-told", "--wait") == 0


def has_joined(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Standing:
    """The machine is a host of another's cloud, whose door says nothing new."""
    monkeypatch.setattr("onestack.cli.up.operations.recover", lambda cloud, note: False)
    monkeypatch.setattr("onestack.cli.lock.need_fit", lambda cloud, verb: None)
    monkeypatch.setattr("onestack.host.files.gid_of", lambda group: 0)
    projection = Projection("head", "192.0.2.1", "2026.2", {})
    said = Standing(
        *("onestack", "web1", 1, "identity", ("compute",), "192.0.2.7", "pem", True), projection
    )
    for folder in (rooms.applied(cloud.etc).parent, Places.of(cloud).folder):
        folder.mkdir(parents=True, exist_ok=True)
    keep(Places.of(cloud), Place("192.0.2.1"), said)

    def refreshed(cloud: Cloud) -> Standing | None:
        kept = Places.of(cloud).kept()
        return kept.standing if kept else None

    def brought_up(*given: object, **more: object) -> None:
        raise AssertionError("nothing is brought up here")

    monkeypatch.setattr("onestack.cli.up.joining.refreshed", refreshed)
    # Whatever is wrong with what is tried here: no cloud is made on the machine of the tests.
    monkeypatch.setattr("onestack.deploy.up.up", brought_up)
    return said


def test_one_that_is_no_host_any_more_is_not_brought_up(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As while it leaves: it would be made anew as a cloud of its own."""
    has_joined(controller, monkeypatch)
    for change in joining.leave(controller, tell=False):
        change.do()
    assert type_it(up, controller, "--if-told") == 0
    assert "no host that follows" in capsys.readouterr().out


@pytest.mark.parametrize("fails", [False, True])
def test_a_host_that_is_half_way_was_brought_up_with_nothing(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """An answer may be taken back, or be what it was with a newer onestack."""
    said = has_joined(controller, monkeypatch)
    follower.finish(controller)

    def brought_up(ctx: Context, *given: object, **more: object) -> None:
        assert not follower.is_applied(controller, said)
        if fails:
            raise OnestackError("nova-compute is not ready")

    monkeypatch.setattr("onestack.deploy.up.up", brought_up)
    monkeypatch.setattr(up, "lines", lambda ctx, report: [])
    ctx = dataclasses.replace(context(controller.root), joined=Joined("192.0.2.1", "x", {}))
    args = parsed(up, controller)
    with pytest.raises(OnestackError) if fails else contextlib.nullcontext():
        up.deploy(ctx, ResolvedAnswers(ctx.answers, (), registry()), args)
    assert follower.is_applied(controller, said) is not fails


def test_a_host_that_somebody_works_on_does_not_leave(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller would be told of one that then stays as it is."""
    has_joined(controller, monkeypatch)
    with lock.changing(controller, "up"), pytest.raises(lock.Busy):
        type_it(leave, controller, "--yes", "--without-controller")
    assert Places.of(controller).kept()
    gone: list[Cloud] = []
    monkeypatch.setattr("onestack.cli.destroy.take_away", lambda cloud, args: gone.append(cloud))

    def told(cloud: Cloud, tell: bool) -> Iterator[Change]:
        with pytest.raises(lock.Busy), lock.changing(cloud, "up"):
            pass
        yield from real(cloud, tell)

    real = joining.leave
    monkeypatch.setattr("onestack.deploy.joining.leave", told)
    leave.run(parsed(leave, controller, "--yes", "--without-controller"))
    assert gone == [controller] and not Places.of(controller).folder.exists()


def test_a_host_is_removed_at_once_and_up_does_the_rest(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(controller)
    ran: list[list[str]] = []

    def run(argv: list[str]) -> int:
        ran.append(argv)
        return 0

    monkeypatch.setattr("onestack.cli.main.run", run)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(BadAnswers, match="was not removed"):
        type_it(host, controller, "remove", "web1")
    assert hosts(controller).document().members
    assert type_it(host, controller, "remove", "web1", "--yes") == 0
    assert not hosts(controller).document().members
    again = ["up", "--wait", "--name", "onestack", "--root", str(controller.root)]
    assert ran == [again]
    assert type_it(host, controller, "remove", "Web1") == 0, "that up may have been killed"
    assert ran == [again, again]
    with pytest.raises(OnestackError, match="no host called 'wbe1'"):
        type_it(host, controller, "remove", "wbe1", "--yes")
    assert ran == [again, again]


def test_a_token_is_given_in_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = JoinToken.made("ab" * 32)
    assert join.read(str(made)) == made
    file = tmp_path / "token"
    file.write_text(f"{made}\n")
    assert join.read(str(file)) == made
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{made}\nmore\n"))
    assert join.read("-") == made
    with pytest.raises(BadAnswers, match="cannot be read"):
        join.read(str(tmp_path / "absent"))
    file.write_bytes(b"\xff")
    with pytest.raises(BadAnswers, match="cannot be read"):
        join.read(str(file))


def test_which_address_is_this_machines() -> None:
    assert join.own_address(Place("127.0.0.1")) == "127.0.0.1"
    with pytest.raises(BadAnswers, match="has no way to"):
        join.own_address(Place("nowhere.invalid"))


def test_who_has_not_joined_does_not_leave(controller: Cloud) -> None:
    with pytest.raises(OnestackError, match="no host of a cloud that is elsewhere"):
        type_it(leave, controller, "--yes")


def status(program: Path) -> SupervisorStatus:
    nothing = PreloadStatus()
    return SupervisorStatus(1, 0.0, "python", str(program), None, nothing, {}, (), (), ())


@pytest.mark.parametrize("program", [None, Path("/old")])
def test_an_up_that_the_supervisor_runs_does_not_replace_it(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch, program: Path | None
) -> None:
    """It would be ended by that, half way: the door's, which a host that joins has run."""

    def details(self: Client) -> SupervisorStatus:
        if program is None:
            raise NotRunning("the supervisor does not run")
        return status(program)

    monkeypatch.setenv("ONESTACK_SUPERVISED", str(controller.root))
    monkeypatch.setattr(Client, "details", details)
    before = sorted(controller.root.rglob("*"))
    with pytest.raises(PreflightRefused, match="code has changed") as problem:
        type_it(up, controller)
    assert "`onestack up` yourself" in problem.value.cure
    assert sorted(controller.root.rglob("*")) == before
    monkeypatch.setenv("ONESTACK_SUPERVISED", "/another")
    up.need_to_outlive_it(controller)


def test_one_that_does_not_replace_it_goes_on(
    controller: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = status(release().program.resolve())
    monkeypatch.setenv("ONESTACK_SUPERVISED", str(controller.root))
    monkeypatch.setattr(Client, "details", lambda self: same)
    up.need_to_outlive_it(controller)
