"""The controller's list of hosts and tokens: who may join, once, and who is none any more."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from onestack.cluster import membership
from onestack.cluster.membership import Issued, Member, Membership, NotAMember, Wish
from onestack.cluster.tokens import JoinToken, TokenRefused
from onestack.kernel import files
from onestack.model.errors import BadAnswers, OnestackError

AUTHORITY = "ab" * 32
HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosts(tmp_path: Path, clock: Clock) -> Membership:
    return Membership(tmp_path, taken=("Controller",), now=clock)


class Signer:
    """Certificates of no authority, each with a serial number of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.count, self.clock = 0, clock

    def __call__(self, member: Member) -> Issued:
        self.count += 1
        return Issued(f"certificate of {member.name}", f"{self.count:x}", self.clock() + 90 * HOUR)


@pytest.fixture
def sign(clock: Clock) -> Signer:
    return Signer(clock)


def wish(name: str = "web1", last: int = 7, key: str = "") -> Wish:
    return Wish(name, f"192.0.2.{last}", key or f"key of {name}")


def token(hosts: Membership, name: str = "", seconds: float = HOUR) -> JoinToken:
    return hosts.invite(AUTHORITY, "compute", name, seconds)


def test_a_machine_joins(hosts: Membership, sign: Signer, clock: Clock) -> None:
    made = hosts.join(token(hosts), wish(), sign)
    assert (made.name, made.number, made.roles) == ("web1", 1, ("compute",))
    assert (made.address, made.joined, made.admitted) == ("192.0.2.7", clock.time, False)
    assert hosts.document().members == (made,)
    assert Membership(hosts.folder).member("WEB1.") == made


def test_of_a_token_only_the_hash_is_kept(hosts: Membership) -> None:
    made = token(hosts)
    text = hosts.path.read_text()
    assert made.secret not in text and made.hash in text
    assert hosts.path.stat().st_mode & 0o777 == 0o600


def test_a_token_is_good_once(hosts: Membership, sign: Signer) -> None:
    made = token(hosts)
    hosts.join(made, wish(), sign)
    with pytest.raises(TokenRefused, match="was used already") as problem:
        hosts.join(made, wish("web2", 8), sign)
    assert "web1 joined with it" in problem.value.why
    assert [m.name for m in hosts.document().members] == ["web1"]


def test_of_many_at_once_one_wins(hosts: Membership, sign: Signer) -> None:
    made, start = token(hosts), threading.Barrier(8)

    def try_it(number: int) -> str:
        start.wait()
        own = Membership(hosts.folder, now=hosts.now)
        try:
            return own.join(made, wish(f"web{number}", number), sign).name
        except TokenRefused:
            return ""

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [name for name in pool.map(try_it, range(1, 9)) if name]
    assert len(winners) == 1
    assert [m.name for m in hosts.document().members] == winners


def test_numbers_are_never_given_twice(hosts: Membership, sign: Signer) -> None:
    for number in (1, 2, 3):
        assert hosts.join(token(hosts), wish(key=f"k{number}"), sign).number == number
        hosts.remove("web1")


def test_who_lost_the_answer_asks_again(hosts: Membership, sign: Signer, clock: Clock) -> None:
    made = token(hosts)
    first = hosts.join(made, wish(), sign)
    clock.time += 2 * HOUR  # the token has ended meanwhile; it was used in time
    assert hosts.join(made, wish(), sign) == first
    assert sign.count == 1 and hosts.document().last_number == 1


def test_the_same_key_after_removal_does_not_bring_it_back(hosts: Membership, sign: Signer) -> None:
    made = token(hosts)
    hosts.join(made, wish(), sign)
    hosts.remove("web1")
    with pytest.raises(TokenRefused, match="was used already"):
        hosts.join(made, wish(), sign)


def test_a_token_ends_by_the_controllers_clock(
    hosts: Membership, sign: Signer, clock: Clock
) -> None:
    made = token(hosts, seconds=60)
    clock.time += 59.9
    assert hosts.invitation(made).id == made.id
    clock.time += 0.1
    with pytest.raises(TokenRefused, match="has ended") as problem:
        hosts.join(made, wish(), sign)
    assert "by the controller's clock" in problem.value.why
    clock.time += membership.REMEMBERED
    token(hosts)  # with each new one those that ended long ago are forgotten
    with pytest.raises(TokenRefused, match="not known"):
        hosts.join(made, wish(), sign)


def test_a_token_that_is_none(hosts: Membership, sign: Signer) -> None:
    real = token(hosts)
    for other in (JoinToken.made(AUTHORITY), JoinToken(AUTHORITY, real.id, "a" * 26)):
        with pytest.raises(TokenRefused, match="not known to this cloud"):
            hosts.join(other, wish(), sign)
    assert hosts.invitation(real)


def test_a_token_that_was_revoked(hosts: Membership, sign: Signer) -> None:
    made = token(hosts)
    hosts.withdraw(made.id)
    with pytest.raises(TokenRefused, match="not known"):
        hosts.join(made, wish(), sign)
    with pytest.raises(TokenRefused, match="there is no token"):
        hosts.withdraw(made.id)


def test_a_token_for_one_name(hosts: Membership, sign: Signer) -> None:
    made = token(hosts, "Web1.")
    with pytest.raises(BadAnswers, match="is for a host called 'web1'"):
        hosts.join(made, wish("web2"), sign)
    assert hosts.join(made, wish("WEB1"), sign).name == "web1"


@pytest.mark.parametrize("name", ["web1", "WEB1", "web1.", " Web1. "])
def test_a_name_is_had_once(hosts: Membership, sign: Signer, name: str) -> None:
    hosts.join(token(hosts), wish(), sign)
    with pytest.raises(BadAnswers, match="has a host called 'web1' already") as problem:
        hosts.join(made := token(hosts), Wish(name, "192.0.2.8", "k2"), sign)
    assert "host remove web1" in problem.value.cure
    assert not hosts.invitation(made).used, "a clash costs no token"
    with pytest.raises(BadAnswers):
        token(hosts, name)


def test_the_controllers_name_is_taken(hosts: Membership, sign: Signer) -> None:
    for name in ("controller", "CONTROLLER."):
        with pytest.raises(BadAnswers):
            hosts.join(token(hosts), wish(name), sign)
    named = Membership(hosts.folder, taken=("Head.example.",), now=hosts.now)
    with pytest.raises(BadAnswers, match="the controller's own"):
        named.join(token(named), wish("head.EXAMPLE"), sign)


def test_one_host_at_an_address_and_with_a_key(hosts: Membership, sign: Signer) -> None:
    hosts.join(token(hosts), wish(), sign)
    with pytest.raises(BadAnswers, match=r"'web1' of the cloud has the address 192\.0\.2\.7"):
        hosts.join(token(hosts), wish("web2"), sign)
    with pytest.raises(BadAnswers, match="the key is that of the host 'web1'"):
        hosts.join(token(hosts), wish("web2", 8, key="key of web1"), sign)


def test_who_holds_a_certificate(hosts: Membership, sign: Signer) -> None:
    made = hosts.join(token(hosts), wish(), sign)
    assert hosts.holder(made.identity, "1") == made
    for identity, serial in ((made.identity, "2"), ("other", "1"), ("", "")):
        with pytest.raises(NotAMember):
            hosts.holder(identity, serial)


def test_a_removed_host_is_none_at_once(hosts: Membership, sign: Signer) -> None:
    made = hosts.join(token(hosts), wish(), sign)
    watching = Membership(hosts.folder, now=hosts.now)
    assert watching.holder(made.identity, "1")
    hosts.remove("WEB1")
    with pytest.raises(NotAMember):
        watching.holder(made.identity, "1")
    with pytest.raises(NotAMember):
        hosts.remove("web1")
    assert [r.serial for r in hosts.revoked()] == ["1"]


def test_a_revoked_certificate_is_listed_until_it_ends(
    hosts: Membership, sign: Signer, clock: Clock
) -> None:
    hosts.join(token(hosts), wish(), sign)
    hosts.remove("web1")
    clock.time += 90 * HOUR
    assert hosts.revoked() == ()
    hosts.join(token(hosts), wish(key="k2"), sign)
    hosts.remove("web1")
    assert [r.serial for r in hosts.document().revoked] == ["2"]


def test_the_name_is_free_again(hosts: Membership, sign: Signer) -> None:
    first = hosts.join(token(hosts), wish(), sign)
    hosts.remove("web1")
    second = hosts.join(token(hosts, "web1"), wish(key="k2"), sign)
    assert second.identity != first.identity
    with pytest.raises(NotAMember):
        hosts.holder(second.identity, "1")


def test_renewal_leaves_the_one_before(hosts: Membership, sign: Signer) -> None:
    made = hosts.join(token(hosts), wish(), sign)
    second = hosts.renew(made, sign)
    assert [c.serial for c in second.certificates] == ["1", "2"]
    third = hosts.renew(made, sign)
    assert [c.serial for c in third.certificates] == ["2", "3"]
    assert [r.serial for r in hosts.revoked()] == ["1"]
    with pytest.raises(NotAMember):
        hosts.holder(made.identity, "1")
    hosts.remove("web1")
    with pytest.raises(NotAMember, match="removed meanwhile"):
        hosts.renew(made, sign)


def test_what_the_controller_has_made(hosts: Membership, sign: Signer) -> None:
    made = hosts.join(token(hosts), wish(), sign)
    hosts.admitted(["other"])
    assert hosts.document().changes == 2
    hosts.admitted([made.identity])
    hosts.admitted([made.identity])
    assert hosts.member("web1").admitted and hosts.document().changes == 3


def test_nothing_is_kept_where_no_certificate_could_be_made(hosts: Membership) -> None:
    def fails(member: Member) -> Issued:
        raise OnestackError("the disk is full")

    made = token(hosts)
    before = hosts.path.read_bytes()
    with pytest.raises(OnestackError, match="disk"):
        hosts.join(made, wish(), fails)
    assert hosts.path.read_bytes() == before


def _die_while_writing(folder: Path, text: str, moment: str) -> None:
    """In a process of its own: join, and be killed at that moment of the write."""
    real = getattr(os, moment)

    def killed(*given: object, **more: object) -> object:
        if moment == "rename":
            os.kill(os.getpid(), signal.SIGKILL)
        done = real(*given, **more)
        os.kill(os.getpid(), signal.SIGKILL)
        return done

    def sign(member: Member) -> Issued:
        setattr(os, moment, killed)
        return Issued("certificate", "1", time.time() + HOUR)

    Membership(folder).join(JoinToken.read(text), wish(), sign)


@pytest.mark.parametrize("moment", ["write", "fsync", "rename"])
def test_who_is_killed_leaves_the_list_whole(tmp_path: Path, moment: str) -> None:
    hosts = Membership(tmp_path)
    made = token(hosts)
    before = hosts.path.read_bytes()
    process = multiprocessing.get_context("fork").Process(
        target=_die_while_writing, args=(tmp_path, str(made), moment)
    )
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert hosts.path.read_bytes() == before
    # Neither the lock nor what was begun is in the way, and the token is still good.
    joined = hosts.join(made, wish(), Signer(time.time))
    assert Membership(tmp_path).document().members == (joined,)
    assert not files.temporary(hosts.path).exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": 1, "members": [{"name": "x"}]}', "damaged"),
        ('{"format": 99}', "newer onestack"),
    ],
)
def test_what_is_damaged_is_said_and_left_alone(hosts: Membership, text: str, why: str) -> None:
    hosts.path.write_text(text)
    with pytest.raises(OnestackError, match="cannot be read") as problem:
        token(hosts)
    assert why in problem.value.why
    assert hosts.path.read_text() == text


def test_links_are_not_followed(hosts: Membership, tmp_path: Path) -> None:
    """The folder is an unprivileged user's, and root changes the list too."""
    victim = tmp_path / "victim"
    victim.write_text(json.dumps({"format": 1}))
    hosts.path.symlink_to(victim)
    with pytest.raises(OnestackError):
        hosts.document()
    hosts.path.unlink()
    (hosts.folder / "lock").symlink_to(tmp_path / "made-by-root")
    with pytest.raises(OnestackError):
        token(hosts)
    assert not (tmp_path / "made-by-root").exists()


def test_without_its_folder(tmp_path: Path) -> None:
    hosts = Membership(tmp_path / "absent")
    assert hosts.document().members == ()
    with pytest.raises(OnestackError, match="cannot be changed"):
        token(hosts)
