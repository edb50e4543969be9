"""A host keeps up with its controller: when it brings itself up, and what is known of it there."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import json
import math
import os
import threading
from pathlib import Path

import pytest

from onestack.cluster import protocol
from onestack.cluster.client import NoDoor
from onestack.cluster.following import (
    INTERVAL,
    LONGEST,
    SILENT,
    Heard,
    Reports,
    condition,
    revision,
)
from onestack.cluster.protocol import Following, Refusal, Standing, Wanted
from onestack.components import hosts
from onestack.components.door import follower as rooms
from onestack.components.door.inside import following, issuing
from onestack.components.door.inside.following import (
    FIRST,
    IDLE,
    LAST,
    OTHER,
    UNENDED,
    Follower,
    Tried,
)
from onestack.host.files import write_file
from onestack.model.codec import to_plain
from onestack.model.errors import OnestackError
from tests.support.door import OpenDoor, needs_haproxy
from tests.support.needs import needs_root
from tests.unit.cluster.test_door import joined
from tests.unit.components.rooms import context

# -- on the host -------------------------------------------------------------------


class Cloud:
    """A controller, and the machine that follows it; ``now`` is the time of both."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, 1000.0
        self.wanted, self.edition, self.renew = "one", "e", False
        self.problem, self.works = "", True
        self.away: OnestackError | None = None
        self.ups: list[float] = []
        self.heard: list[Following] = []
        (folder / "edition").write_text("e\n")

    def ask(self, said: Following) -> Wanted:
        if self.away:
            raise self.away
        self.heard.append(said)
        return Wanted(self.wanted, self.edition, self.renew)

    def bring_up(self) -> str:
        self.ups.append(self.now)
        if not self.problem and self.works:
            self.applied()
            self.renew = False
        return self.problem

    def applied(self) -> None:
        (self.folder / "applied").write_text(f"{self.wanted}\n")

    def follower(self) -> Follower:
        files = (self.folder / name for name in ("applied", "edition", "memory"))
        applied, edition, memory = files
        return Follower(applied, edition, memory, self.ask, self.bring_up, lambda: self.now)

    def passes(self, of: Follower, seconds: float) -> list[float]:
        """When it was brought up meanwhile, in seconds from now."""
        began, before = self.now, len(self.ups)
        while self.now < began + seconds:
            of.step()
            self.now += INTERVAL
        return [at - began for at in self.ups[before:]]


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


def test_it_is_brought_up_once_for_each_change(cloud: Cloud) -> None:
    of = cloud.follower()
    assert cloud.passes(of, 600) == [0.0]
    cloud.wanted = "two"
    assert cloud.passes(of, 600) == [0.0]
    assert cloud.heard[-1] == Following("two", "e")
    cloud.renew = True
    assert cloud.passes(of, 600) == [0.0]
    assert rooms_word(cloud) == ""


def rooms_word(cloud: Cloud) -> str:
    """What is shown there of what it remembers."""
    return str(json.loads((cloud.folder / "memory").read_text())["problem"])


def test_the_controller_is_told_before_it_falls_silent(cloud: Cloud) -> None:
    cloud.follower().step()
    assert [said.trying for said in cloud.heard] == [False, True]


def test_what_fails_is_tried_later_each_time(cloud: Cloud) -> None:
    of, cloud.problem = cloud.follower(), "no room\nthe disk is full"
    tries = cloud.passes(of, 4 * LAST)
    between = [b - a for a, b in itertools.pairwise(tries)]
    assert between[0] >= FIRST and all(b >= a for a, b in itertools.pairwise(between))
    assert max(between) <= LAST + INTERVAL and len(tries) < 12
    assert rooms_word(cloud) == cloud.problem == cloud.heard[-1].problem
    assert 0 < cloud.heard[-1].again <= LAST
    # Something else may mend it.
    cloud.wanted = "two"
    assert cloud.passes(of, INTERVAL) == [0.0]
    # And so may a person.
    cloud.problem = ""
    cloud.applied()
    assert cloud.passes(of, 600) == []
    assert rooms_word(cloud) == "" == cloud.heard[-1].problem


def test_one_that_is_started_anew_does_not_hurry(cloud: Cloud) -> None:
    """Also where its own `up` ended it."""

    def ended() -> str:
        cloud.ups.append(cloud.now)
        raise KeyboardInterrupt

    of = cloud.follower()
    of.bring_up = ended
    with pytest.raises(KeyboardInterrupt):
        of.step()
    cloud.problem, of = "no room", cloud.follower()
    of.step()
    # Nobody has seen how it ended: it may go on.
    assert rooms_word(cloud) == UNENDED
    tries = cloud.passes(of, 200)
    assert tries and all(at >= FIRST - INTERVAL for at in tries)
    assert rooms_word(cloud) == "no room"


def test_it_is_tried_for_ever(cloud: Cloud) -> None:
    """Once an hour that is a few weeks: no number grows meanwhile."""
    kept = Tried("one", 1_000_000, 0.0, "no room", ended=True)
    (cloud.folder / "memory").write_text(json.dumps(to_plain(kept)))
    of, cloud.problem = cloud.follower(), "no room"
    assert cloud.passes(of, LAST + INTERVAL) == [0.0, LAST]


@pytest.mark.parametrize("wrong", [30 * 86400.0, -30 * 86400.0])
def test_a_clock_that_was_wrong_does_not_end_it(cloud: Cloud, wrong: float) -> None:
    """As of a machine that starts, until it has asked others for the time."""
    of, cloud.problem = cloud.follower(), "no room"
    cloud.now += wrong
    of.step()
    cloud.now -= wrong
    cloud.problem = ""
    assert cloud.passes(of, LAST) == [0.0]


def test_a_full_disk_is_said_and_ends_nothing(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written down is remembered, as long as this process is there."""

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    of, cloud.works = cloud.follower(), False
    with monkeypatch.context() as patch:
        patch.setattr(following, "write", full)
        assert len(cloud.passes(of, FIRST)) == 1
        assert IDLE in cloud.heard[-1].problem
        # All was done meanwhile, and what it has written down says something else.
        cloud.applied()
        cloud.passes(of, 2 * INTERVAL)
        assert cloud.heard[-1].problem.endswith("cannot be written: No space left on device")
    cloud.passes(of, 2 * INTERVAL)
    assert rooms_word(cloud) == "" == cloud.heard[-1].problem


def test_what_up_says_of_a_full_disk_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no place for a file of what it says, and none for the log."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    program = tmp_path / "up"
    program.write_text("#!/bin/sh\nprintf 'onestack: there is no room\\n'\nexit 1\n")
    program.chmod(0o755)
    with open("/dev/full", "w", buffering=1) as log:
        monkeypatch.setattr("sys.stderr", log)
        assert following.up((str(program),)) == "there is no room"
        assert following.up((str(tmp_path / "absent"),)).startswith("onestack up cannot be run: ")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            log.close()


def test_what_the_door_refuses_makes_nobody_hurry(cloud: Cloud) -> None:
    of, cloud.problem = cloud.follower(), "no room"
    for n in range(20):
        cloud.away = Refusal("the list cannot be read") if n % 2 else None
        of.step()
        cloud.now += INTERVAL
    assert len(cloud.ups) == 3, "after one minute, and after two more"
    assert rooms_word(cloud) == "no room"


def test_an_answer_that_is_taken_back_half_way_is_followed_too(cloud: Cloud) -> None:
    """As `up` has it: what the host was brought up with is known of none that is half way."""
    of = cloud.follower()
    assert cloud.passes(of, 60) == [0.0]

    def fails() -> str:
        cloud.ups.append(cloud.now)
        (cloud.folder / "applied").unlink(missing_ok=True)
        return "nova-compute is not ready"

    of.bring_up, cloud.wanted = fails, "two"
    assert cloud.passes(of, 30) == [0.0]
    of.bring_up, cloud.wanted = cloud.bring_up, "one"
    assert cloud.passes(of, 600) == [0.0]
    assert cloud.heard[-1] == Following("one", "e")


def test_an_up_that_ends_well_and_changes_nothing_is_no_loop(cloud: Cloud) -> None:
    of, cloud.works = cloud.follower(), False
    assert len(cloud.passes(of, LAST)) < 8
    assert rooms_word(cloud) == IDLE


def test_another_onestack_is_said_and_not_tried(cloud: Cloud) -> None:
    of, cloud.edition = cloud.follower(), "f"
    assert cloud.passes(of, 600) == []
    assert rooms_word(cloud) == OTHER
    cloud.edition = "e"
    assert cloud.passes(of, INTERVAL) == [0.0]


def test_an_older_door_does_not_know_the_question(cloud: Cloud) -> None:
    of, cloud.away = cloud.follower(), Refusal("the door knows no POST", exit_code=2)
    assert cloud.passes(of, 600) == []
    assert rooms_word(cloud) == OTHER


def test_a_controller_that_is_away_is_waited_for(cloud: Cloud) -> None:
    of, cloud.away = cloud.follower(), NoDoor("nothing listens there")
    assert cloud.passes(of, 600) == []
    assert not (cloud.folder / "memory").exists(), "the host does its work: nothing is wrong here"
    cloud.away = None
    assert cloud.passes(of, INTERVAL) == [0.0]


def test_one_that_was_removed_says_so(cloud: Cloud) -> None:
    of, cloud.away = cloud.follower(), Refusal("none of the cloud's any more", gone=True)
    assert cloud.passes(of, 600) == []
    assert rooms_word(cloud) == "none of the cloud's any more"


def test_what_up_says_is_the_problem(tmp_path: Path) -> None:
    program = tmp_path / "up"
    said = "onestack: neutron is not ready\\n  why:  no room\\n  cure: make some\\n"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\nexit 3\n")
    program.chmod(0o755)
    found = following.up((str(program),))
    assert found.startswith("neutron is not ready") and found.endswith("make some")
    assert following.up(("/bin/true",)) == ""
    assert following.up(("/bin/false",)) == "onestack up ended with 1"


# -- at the door --------------------------------------------------------------------


@needs_root
@needs_haproxy
def test_a_host_asks_and_is_heard(
    door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing, own = joined(door, tmp_path)
    said = Following("", "edition")

    def ask() -> Wanted:
        return door.client(own).ask("POST", protocol.FOLLOW, Wanted, said)

    first = ask()
    assert first == Wanted(revision(standing), "edition", renew=False)
    heard = door.app.reports.of(standing.identity)
    assert heard is not None and heard.said == said
    # an answer
    told = door.app.settings.shared["compute"].answers
    monkeypatch.setitem(told, "CONFIG_DEBUG_MODE", "n")
    second = ask()
    assert second.revision != first.revision
    # the list of certificates that are good no more
    listed = Path(door.app.settings.peers_revoked)
    before = listed.read_text()
    try:
        listed.write_text(before.replace("\n", "\n\n", 1))
        assert ask().revision not in (first.revision, second.revision)
    finally:
        listed.write_text(before)
    now = door.client(own).ask("GET", protocol.SELF, Standing)
    assert ask().revision == revision(now) == second.revision
    door.hosts.remove("web1")
    with pytest.raises(Refusal, match="none of the cloud's any more"):
        ask()


@needs_root
@needs_haproxy
def test_a_certificate_that_ends_is_to_be_renewed(
    door: OpenDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuing, "DAYS", 29)
    _, own = joined(door, tmp_path)
    assert door.client(own).ask("POST", protocol.FOLLOW, Wanted, Following("", "e")).renew


# -- what the controller makes of it -------------------------------------------------


def word(said: Following | None, ago: float = 1.0) -> str:
    heard = Heard(said, 1000.0) if said else None
    return condition(heard, "one", "e", now=1000.0 + ago).word


def test_how_far_a_host_is() -> None:
    here, behind = Following("one", "e"), Following("none", "e")
    assert word(here) == "current"
    assert word(here, SILENT + 1) == "away"
    assert word(behind) == "following"
    failed = dataclasses.replace(behind, problem="no room\nmore", again=60.0)
    assert word(failed) == "failed"
    assert word(dataclasses.replace(here, problem="its certificate")) == "failed"
    trying = dataclasses.replace(failed, trying=True)
    assert word(trying, SILENT + 1) == "following"
    assert word(trying, 3600) == "away"
    assert word(Following("one", "f")) == "other"
    assert word(None) == "unheard"
    found = condition(Heard(failed, 1000.0), "one", "e", now=1010.0)
    assert found.sentence == "could not follow, and tries again in 50 s: no room"
    assert found.problem == "no room\nmore" and not found.well


def test_root_reads_what_is_a_file_of_what_hosts_said(tmp_path: Path) -> None:
    """The folder is the door's, which may be anybody's one day."""
    reports = Reports.below(tmp_path)
    reports.put("web1", Following("x", "e"))
    path = reports.folder / "web1.json"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert reports.of("web1") is None
    path.unlink()
    path.write_text("[" * 60_000)
    assert reports.of("web1") is None
    rude = dataclasses.asdict(Following("x", "e", problem="\x1b[2J"))
    path.write_text(json.dumps(rude))
    heard = reports.of("web1")
    assert heard is not None and heard.said.problem == "?[2J"
    path.write_text(json.dumps(rude) + " " * protocol.LONGEST + "x")
    assert reports.of("web1") is not None, "so much of it, and no more, is read"
    path.unlink()
    os.mkfifo(path)
    found: list[Heard | None] = []
    reads = threading.Thread(target=lambda: found.append(reports.of("web1")), daemon=True)
    reads.start()
    reads.join(10)
    assert found == [None], "it waits for nobody who could write there"


def test_what_a_host_sends_is_shown_to_people(tmp_path: Path) -> None:
    """Whoever has it by now."""
    reports = Reports.below(tmp_path)
    assert reports.of("a") is None
    rude = "\x1b[2J\x07\u202e\ud800 ok\n" + "x" * LONGEST
    for again in (math.nan, math.inf, -math.inf, 1e300):
        reports.put("a", Following("one", "e", problem=rude, again=again))
        heard = reports.of("a")
        assert heard is not None and 0 <= heard.said.again <= 86400
        assert "\x1b" not in heard.said.problem and "\u202e" not in heard.said.problem
        assert len(heard.said.problem) == LONGEST
        assert condition(heard, "one", "e").word == "failed"


def test_hosts_that_went_are_forgotten(tmp_path: Path) -> None:
    reports = Reports.below(tmp_path)
    for name in ("a", "b"):
        reports.put(name, Following("one", "e"))
    reports.put("a", Following("one", "e"))
    reports.keep_only({"a"})
    assert reports.of("a") and reports.of("b") is None


@needs_root
def test_what_a_host_was_brought_up_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the door says it: one word, written when all was done, and of no use while it is not."""
    monkeypatch.setattr("onestack.host.files.gid_of", lambda group: 0)
    own = context(tmp_path).cloud
    projection = protocol.Projection("head", "192.0.2.1", "2026.2", {"A": "b"})
    said = Standing(
        *("onestack", "web1", 1, "identity", ("compute",), "192.0.2.7", "pem", True), projection
    )
    hosts.standing(own.etc).parent.mkdir(parents=True)
    hosts.applied(own.etc).parent.mkdir(parents=True)
    write_file(hosts.standing(own.etc), json.dumps({"door": "x", "standing": to_plain(said)}))
    assert not rooms.is_applied(own, said)
    rooms.begin(own)
    rooms.finish(own)
    assert rooms.is_applied(own, said)
    assert hosts.applied(own.etc).stat().st_mode & 0o777 == 0o640
    assert not rooms.is_applied(own, dataclasses.replace(said, certificate="another"))
    rooms.begin(own)
    assert not rooms.is_applied(own, said)


def test_what_keeps_a_host_from_following(tmp_path: Path) -> None:
    own = context(tmp_path).cloud
    assert rooms.behind(own) is None
    place = rooms.memory(own)
    place.parent.mkdir(parents=True)
    for text in ("", "{}", json.dumps({"problem": "", "again": 0.0})):
        place.write_text(text)
        assert rooms.behind(own) is None
    place.write_text(json.dumps({"problem": "no room", "again": 4e9}))
    found = rooms.behind(own)
    assert found is not None and found.sentence.startswith("no room; it tries again at ")
    place.write_text(json.dumps({"problem": "no room", "again": 1000.0}))
    found = rooms.behind(own)
    assert found is not None and found.sentence == "no room"


@pytest.mark.parametrize("again", ["0", "-1e300", "1e300", "Infinity", "NaN", "1" + "0" * 400])
def test_what_a_follower_remembers_is_not_roots_own_word(tmp_path: Path, again: str) -> None:
    own = context(tmp_path).cloud
    place = rooms.memory(own)
    place.parent.mkdir(parents=True)
    place.write_text(f'{{"problem": "\\u001b]0;x\\u0007\\u001b[2Jall is well", "again": {again}}}')
    found = rooms.behind(own)
    if len(again) > 99:
        assert found is None
    else:
        assert found is not None and found.sentence.startswith("?]0;x??[2Jall is well")
        assert "\x1b" not in found.problem
