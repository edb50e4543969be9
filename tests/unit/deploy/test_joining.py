"""A machine joins, against a door with real TLS; killed anywhere, the next run goes on."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from onestack.cluster import protocol
from onestack.cluster.client import ClocksApart, DoorClient, NoDoor, Place
from onestack.cluster.following import revision
from onestack.cluster.membership import Issued
from onestack.cluster.protocol import (
    GUESTS,
    LIBVIRT,
    PEERS,
    Certify,
    Following,
    Hello,
    Refusal,
    Renew,
    Standing,
    Wanted,
)
from onestack.cluster.tokens import JoinToken
from onestack.components import certificates
from onestack.components import hosts as rooms
from onestack.components.door import follower, peers
from onestack.components.door.inside import issuing
from onestack.deploy import joining
from onestack.deploy.joining import Joining, Places, _key_of
from onestack.engine.runner import Runner, StepsFailed
from onestack.model.cloud import FORMAT, Cloud, CloudRecord, HostRecord, record_path
from onestack.model.errors import BadAnswers, OnestackError, PreflightRefused
from tests.support.door import LOOPBACK, OpenDoor, free_port, needs_haproxy
from tests.support.needs import needs_root

pytestmark = [needs_root, needs_haproxy]


@pytest.fixture
def door(door: OpenDoor, monkeypatch: pytest.MonkeyPatch) -> OpenDoor:
    """Hosts may be at loopback addresses here."""
    monkeypatch.setattr("onestack.components.door.inside.app._address", str)
    return door


@pytest.fixture
def machine(tmp_path: Path) -> Cloud:
    (tmp_path / "etc").mkdir()
    return Cloud("onestack", tmp_path)


def wish(door: OpenDoor, machine: Cloud, token: str = "", **more: str) -> Joining:
    given = {"name": "web1", "address": LOOPBACK, "release": door.app.settings.release, **more}
    read = JoinToken.read(token or door.token())
    return joining.joining(machine, door.place, read, **given)


def join(wanted: Joining) -> list[str]:
    """What was changed. Raises the one error of it."""
    runner = Runner()
    try:
        runner.execute(wanted.steps())
    except StepsFailed as failed:
        (result,) = failed.failures
        assert result.error is not None
        raise result.error from None
    return [step for step, _ in runner.report.changes]


def test_a_machine_joins_and_again_changes_nothing(door: OpenDoor, machine: Cloud) -> None:
    wanted = wish(door, machine)
    steps = join(wanted)
    assert steps == ["door", "door", "key", "way-back", "host", "admission", *["shown"] * 5]
    kept = Places.of(machine).kept()
    assert kept is not None and kept.door == str(door.place)
    assert kept.standing.name == "web1" and kept.standing.admitted
    assert door.calls == ["up"]
    before = door.hosts.path.read_bytes()
    assert join(wanted) == []
    assert door.hosts.path.read_bytes() == before


def test_all_that_is_kept_is_roots_alone(door: OpenDoor, machine: Cloud) -> None:
    wanted = wish(door, machine)
    join(wanted)
    folder = Places.of(machine).folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
    texts = [p.read_text() for p in folder.iterdir()]
    assert not any(wanted.token.secret in text for text in texts), "the token is kept nowhere"


def test_the_key_stays_where_it_was_made(door: OpenDoor, machine: Cloud) -> None:
    join(wish(door, machine))
    key = Places.of(machine).key.read_text()
    inside = "".join(key.splitlines()[1:-1])
    for path in door.files.rglob("*"):
        if path.is_file():
            assert inside not in path.read_text(errors="replace").replace("\n", "")


def _killed_at(wanted: Joining, count: int, late: bool) -> None:
    """In a process of its own: be killed at the ``count``-th file that becomes what it is."""
    real, seen = os.rename, 0

    def rename(*given: object, **more: object) -> None:
        nonlocal seen
        seen += 1
        if seen == count and not late:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*given, **more)  # type: ignore[arg-type]
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

    os.rename = rename
    join(wanted)


FILES = 13
"""The authority, the key, the standing, the certificate, the standing once more; of what is shown
to others the authority and its list, and a key and a certificate for each purpose."""


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("count", range(1, FILES + 1))
def test_killed_anywhere_the_next_run_goes_on(
    door: OpenDoor, machine: Cloud, count: int, late: bool
) -> None:
    wanted = wish(door, machine)
    process = multiprocessing.get_context("fork").Process(
        target=_killed_at, args=(wanted, count, late)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    join(wanted)
    (member,) = door.hosts.document().members
    assert (member.name, member.number, len(member.certificates)) == ("web1", 1, 1)
    kept = Places.of(machine).kept()
    assert kept is not None and kept.standing.admitted
    assert kept.standing.identity == member.identity
    assert joining.refreshed(machine) == kept.standing
    assert join(wanted) == []


def test_it_writes_no_more_files_than_it_was_killed_at(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = os.rename, []

    def rename(old: Path, new: Path) -> None:
        if str(machine.root) in str(new):
            seen.append(Path(new).name)
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    join(wish(door, machine))
    assert len(seen) == FILES


# -- refused ---------------------------------------------------------------------


def refused(wanted: Joining, kind: type[OnestackError], text: str) -> OnestackError:
    with pytest.raises(kind, match=text) as problem:
        join(wanted)
    assert problem.value.cure, "there is a way on"
    assert wanted.token.secret not in str(problem.value)
    return problem.value


def test_a_used_token(door: OpenDoor, machine: Cloud, tmp_path: Path) -> None:
    token = door.token()
    join(wish(door, machine, token))
    other = Cloud("onestack", tmp_path / "other")
    other.etc.mkdir(parents=True)
    problem = refused(wish(door, other, token, name="web2"), Refusal, "was used already")
    assert problem.exit_code == 1


def test_an_ended_token(door: OpenDoor, machine: Cloud) -> None:
    refused(wish(door, machine, door.token(seconds=-1)), Refusal, "has ended")


def test_a_token_of_another_cloud(door: OpenDoor, machine: Cloud) -> None:
    token = str(JoinToken.made("ab" * 32))
    refused(wish(door, machine, token), NoDoor, "not the one that the token is for")
    assert not Places.of(machine).folder.exists(), "nothing was begun"


def test_a_controller_that_is_away(door: OpenDoor, machine: Cloud) -> None:
    wanted = joining.joining(
        machine,
        Place(LOOPBACK, free_port()),
        JoinToken.read(door.token()),
        "web1",
        LOOPBACK,
        "2026.2",
    )
    refused(wanted, NoDoor, "nothing listens")


def test_a_name_that_is_taken(door: OpenDoor, machine: Cloud, tmp_path: Path) -> None:
    join(wish(door, machine))
    other = Cloud("onestack", tmp_path / "other")
    other.etc.mkdir(parents=True)
    refused(wish(door, other, name="WEB1."), Refusal, "has a host called 'web1' already")
    with pytest.raises(BadAnswers, match="no host may be called"):
        wish(door, other, name="Controller")


def test_another_release(door: OpenDoor, machine: Cloud) -> None:
    problem = refused(wish(door, machine, release="2025.1"), PreflightRefused, "of OpenStack")
    assert problem.exit_code == 3


def test_clocks_apart(door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    right = door.client().hello()
    wrong = Hello(right.cloud, right.release, right.time - 600)
    monkeypatch.setattr(DoorClient, "ask", lambda *given: wrong)
    refused(wish(door, machine), ClocksApart, "differ by")


def test_another_clouds_name(door: OpenDoor, tmp_path: Path) -> None:
    other = Cloud("b", tmp_path / "b")
    problem = refused(wish(door, other), BadAnswers, "is called 'onestack', not 'b'")
    assert "--name onestack" in problem.cure


def test_an_address_of_another_machine(door: OpenDoor, machine: Cloud) -> None:
    refused(wish(door, machine, address="192.0.2.77"), BadAnswers, "no address of this machine")
    with pytest.raises(BadAnswers, match="no address"):
        wish(door, machine, address="web1")
    assert not door.hosts.document().members


def test_a_host_that_is_not_reached(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onestack.components.door.inside.app._address", lambda text: "192.0.2.77")
    monkeypatch.setattr("onestack.components.door.inside.app.SECONDS", 0.3)
    token = door.token()
    problem = refused(wish(door, machine, token), PreflightRefused, "does not reach this host")
    assert problem.exit_code == 3
    monkeypatch.setattr("onestack.components.door.inside.app._address", str)
    assert join(wish(door, machine, token)), "it cost no token"


def test_a_machine_with_a_cloud_of_its_own(door: OpenDoor, machine: Cloud) -> None:
    own = CloudRecord("onestack", None, FORMAT, "2026.2", (HostRecord("a", ("controller",)),))
    record_path(machine.root).write_text(own.text)
    refused(wish(door, machine), PreflightRefused, "has a cloud of its own")


def test_a_host_of_another_cloud(door: OpenDoor, machine: Cloud) -> None:
    join(wish(door, machine))
    other = wish(door, machine, str(JoinToken.made("ab" * 32)))
    refused(other, PreflightRefused, "host of another cloud already")


def test_a_controller_that_cannot_make_ready(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise OnestackError("the controller could not make ready", "no room", "onestack up")

    wanted = wish(door, machine)
    with monkeypatch.context() as patch:
        patch.setattr(door.app, "_admit", fails)
        refused(wanted, Refusal, "could not make ready")
    assert join(wanted) == ["admission", *["shown"] * 5]


def test_a_connection_that_is_lost_meanwhile_is_asked_for_again(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the controller does for hosts that left starts the door's front anew."""
    real = door.app._admit

    def cut() -> None:
        door.front.stop()
        door.front.start()
        real()

    monkeypatch.setattr(joining, "AGAIN", 0.1)
    monkeypatch.setattr(door.app, "_admit", cut)
    assert "admission" in join(wish(door, machine))
    kept = Places.of(machine).kept()
    assert kept is not None and kept.standing.admitted
    assert door.calls == ["up"]


def test_a_door_that_stays_away_is_not_waited_for_for_ever(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "AGAIN", 0.05)
    monkeypatch.setattr(joining, "AWAY", 0.3)
    monkeypatch.setattr(door.app, "_admit", door.front.stop)
    try:
        refused(wish(door, machine), NoDoor, "nothing listens")
    finally:
        door.front.start()


def test_while_the_controller_is_at_work_for_another_the_host_asks_again(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 2:
            door.app._at_work.release()

    monkeypatch.setattr("onestack.deploy.joining.time.sleep", sleep)
    door.app._at_work.acquire()
    join(wish(door, machine))
    assert asked == [joining.AGAIN] * 2
    assert door.calls == ["up"]
    with monkeypatch.context() as patch:
        patch.setattr(joining, "ADMISSION", 0.0)
        patch.setattr("onestack.deploy.joining.time.sleep", lambda seconds: None)
        other = dataclasses.replace(machine, root=machine.root / "other")
        other.etc.mkdir(parents=True)
        patch.setattr("onestack.components.door.inside.app._address", lambda text: "192.0.2.9")
        wanted = wish(door, other, name="web2")
        patch.setattr(Joining, "_try_way_back", lambda self: None)
        door.app._at_work.acquire()
        try:
            refused(wanted, OnestackError, "has not made ready")
        finally:
            door.app._at_work.release()


# -- afterwards --------------------------------------------------------------------


def test_what_is_known_of_the_cloud_is_asked_anew(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert joining.refreshed(machine) is None
    join(wish(door, machine))
    told = door.app.settings.shared["compute"].answers
    monkeypatch.setitem(told, "CONFIG_DEBUG_MODE", "n")
    found = joining.refreshed(machine)
    assert found is not None and found.projection.answers == {"CONFIG_DEBUG_MODE": "n"}
    kept = Places.of(machine).kept()
    assert kept is not None and kept.standing == found


def test_a_certificate_is_renewed_before_it_ends(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onestack.components.door.inside.issuing.DAYS", 29)
    join(wish(door, machine))
    (first,) = door.hosts.member("web1").certificates
    monkeypatch.undo()
    found = joining.refreshed(machine)
    assert found is not None and found.certificate != first.certificate
    assert door.hosts.member("web1").certificates[0] == first
    places = Places.of(machine)
    assert places.certificate.read_text() == found.certificate, "in use from now on"
    assert joining.refreshed(machine) == found, "once"


def test_one_that_lasts_is_not_renewed(door: OpenDoor, machine: Cloud) -> None:
    """Each that is given up is in the list of revoked ones until it ends."""
    join(wish(door, machine))
    places = Places.of(machine)
    kept = places.kept()
    assert kept is not None
    asked = Renew(joining._request(places.key))
    for _ in range(3):
        found = places.client(kept).ask("POST", protocol.RENEW, Standing, asked)
        assert found == kept.standing
    assert len(door.hosts.member("web1").certificates) == 1
    assert door.hosts.revoked() == ()


def test_it_has_what_it_shows_to_other_hosts(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With keys of their own, by an authority of their own, for its address."""
    join(wish(door, machine))
    folder, texts = Places.of(machine).folder, {}
    keys = {_key_of(Places.of(machine).key)}
    for purpose in PEERS:
        certificate, key = peers.kept(machine.etc, purpose)
        found = certificates.good(certificate, folder / "peers-ca.pem")
        assert found is not None and certificates.belong_together(certificate, key)
        assert certificates.good(certificate, Places.of(machine).authority) is None
        member = door.hosts.member("web1")
        assert found.subject == certificates.named(protocol.holder(purpose, member.identity))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(n.value) for n in names] == [member.address]
        texts[purpose] = certificate.read_text()
        keys.add(_key_of(key))
    assert len(keys) == 1 + len(PEERS)
    joining.refreshed(machine)
    for purpose in PEERS:
        assert peers.kept(machine.etc, purpose)[0].read_text() == texts[purpose], "once"
    # one whose key was lost, as by a run that was killed
    peers.kept(machine.etc, LIBVIRT)[1].unlink()
    joining.refreshed(machine)
    assert peers.kept(machine.etc, LIBVIRT)[0].read_text() != texts[LIBVIRT]
    assert len(door.hosts.member("web1").shown) == len(PEERS) + 1
    gone = door.hosts.remove("web1")
    assert {c.serial for c in gone.shown} < {r.serial for r in door.hosts.revoked()}


def test_a_renewed_certificate_for_others_comes_into_use(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that the host is told changes with it, and `up` alone gives it to who shows it."""
    real = issuing.issued_for

    def short(*given: Any) -> Issued:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(issuing, "DAYS", 29)
            return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(issuing, "issued_for", short)
        join(wish(door, machine))
    monkeypatch.setattr("onestack.host.files.gid_of", lambda group: 0)
    places = Places.of(machine)
    kept = places.kept()
    assert kept is not None
    rooms.applied(machine.etc).parent.mkdir()
    follower.finish(machine)
    said = Following(revision(kept.standing), "edition")

    def ask() -> Wanted:
        return places.client(kept).ask("POST", protocol.FOLLOW, Wanted, said)

    assert (ask().renew, ask().revision) == (True, said.revision)
    certificate, _ = peers.kept(machine.etc, LIBVIRT)
    before = certificate.read_text()
    assert joining.refreshed(machine) == kept.standing
    assert certificate.read_text() != before
    assert (ask().renew, ask().revision) == (False, said.revision)
    assert not follower.is_applied(machine, kept.standing), "nothing else would have it used"


def test_nothing_is_certified_that_is_not_wanted(door: OpenDoor, machine: Cloud) -> None:
    join(wish(door, machine))
    places = Places.of(machine)
    kept = places.kept()
    assert kept is not None
    own = joining._request(places.key)
    for asked, says in (
        (Certify("door", own), "no certificate for 'door'"),
        (Certify(GUESTS, own), "what the host shows to the door"),
    ):
        with pytest.raises(Refusal, match=says):
            places.client(kept).ask("POST", protocol.CERTIFY, dict[str, str], asked)
    assert [one.purpose for one in door.hosts.member("web1").shown] == [*PEERS]


def test_without_its_controller_a_host_goes_on(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(wish(door, machine))

    def away(*given: object) -> None:
        raise NoDoor("away")

    monkeypatch.setattr(DoorClient, "ask", away)
    found = joining.refreshed(machine)
    assert found is not None and found.name == "web1"


def test_a_removed_host_is_told(door: OpenDoor, machine: Cloud) -> None:
    join(wish(door, machine))
    door.hosts.remove("web1")
    with pytest.raises(Refusal, match="none of the cloud's any more"):
        joining.refreshed(machine)


def test_a_host_leaves_and_joins_again(door: OpenDoor, machine: Cloud) -> None:
    join(wish(door, machine))
    first = door.hosts.member("web1")
    for change in joining.leave(machine):
        change.do()
    assert not Places.of(machine).folder.exists()
    assert door.hosts.document().members == ()
    assert list(joining.leave(machine)) == []
    join(wish(door, machine))
    second = door.hosts.member("web1")
    assert (second.number, second.identity != first.identity) == (2, True)


def test_one_that_was_removed_leaves_too(door: OpenDoor, machine: Cloud) -> None:
    join(wish(door, machine))
    door.hosts.remove("web1")
    for change in joining.leave(machine):
        change.do()
    assert not Places.of(machine).folder.exists()


def test_without_its_controller_a_host_leaves_only_when_told_so(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(wish(door, machine))
    gone = Places.of(machine).standing
    text = gone.read_text().replace(str(door.place), f"https://{LOOPBACK}:{free_port()}")
    gone.write_text(text)
    with pytest.raises(NoDoor) as problem:
        for change in joining.leave(machine):
            change.do()
    assert "onestack leave --without-controller" in problem.value.cure
    assert Places.of(machine).folder.exists()
    for change in joining.leave(machine, tell=False):
        change.do()
    assert not Places.of(machine).folder.exists()


def test_what_keeps_the_controller_from_letting_it_go_is_said(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(wish(door, machine))

    def full(name: str) -> None:
        raise OnestackError("the list of the cloud's hosts cannot be changed", "no room", "df -h")

    with monkeypatch.context() as patch:
        patch.setattr(door.hosts, "remove", full)
        with pytest.raises(Refusal, match="cannot be changed") as problem:
            for change in joining.leave(machine):
                change.do()
    assert problem.value.cure.startswith("df -h; or leave without it: onestack leave --without")
    assert "onestack host remove web1" in problem.value.cure
    assert Places.of(machine).folder.exists()
    monkeypatch.setattr("onestack.components.door.inside.app.OF_TIME", ("0",))
    with pytest.raises(Refusal, match="has ended"):
        for change in joining.leave(machine):
            change.do()


def test_whoever_may_not_look_is_told_so(
    door: OpenDoor, machine: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that the file is damaged, with how to leave the cloud as the cure."""
    join(wish(door, machine))

    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(PreflightRefused, match="only root") as problem:
        Places.of(machine).kept()
    assert "leave" not in problem.value.cure


def test_a_damaged_journal_is_said(door: OpenDoor, machine: Cloud) -> None:
    join(wish(door, machine))
    Places.of(machine).standing.write_text("{")
    with pytest.raises(OnestackError, match="does not say which cloud") as problem:
        joining.refreshed(machine)
    assert "onestack leave" in problem.value.cure
    for change in joining.leave(machine):
        change.do()
    assert not Places.of(machine).folder.exists()
