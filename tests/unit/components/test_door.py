"""What the door wants of its controller."""

from __future__ import annotations

import dataclasses
import datetime
import json
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from onestack.cluster.membership import Issued, Member, Membership, Wish
from onestack.cluster.settings import DoorSettings
from onestack.components import certificates
from onestack.components import hosts as joined
from onestack.components.door import JOIN, LAUNCHER, Door, follower, verbs
from onestack.model.declared import Declared
from onestack.model.findings import Severity
from onestack.model.host import Joined
from onestack.model.root_command import Refused, chosen
from tests.support.door import needs_haproxy
from tests.unit.components.rooms import MACHINE, content, context, context_on

DOOR = Door()
DAY = 86400.0


def test_it_is_there_only_when_asked_for(tmp_path: Path) -> None:
    assert not DOOR.enabled(context(tmp_path).answers)
    assert DOOR.enabled(context(tmp_path, **{JOIN: "y"}).answers)


def test_neither_of_its_processes_is_root(tmp_path: Path) -> None:
    ctx = context(tmp_path, DOOR)
    made = Declared(DOOR, ctx)
    answers, front = made.processes
    assert (answers.user, front.user) == ("onestack-door", "onestack-doorway")
    assert set(made.users) == {answers.user, front.user}
    assert answers.sockets_group == front.user
    assert not answers.capabilities and not front.capabilities


def test_the_front_knows_nothing_that_signs(tmp_path: Path) -> None:
    """What strangers send is read by the one, and what signs is read by the other."""
    ctx = context(tmp_path, DOOR)
    groups = {file.path.name: file.group for file in Declared(DOOR, ctx).files}
    assert groups == {
        "haproxy.cfg": "onestack-doorway",
        "door.json": "onestack-door",
        "edition": "onestack-door",
    }
    assert "ca.key" not in content(ctx, DOOR, "haproxy.cfg")


def test_what_it_may_have_run_as_root_is_one_command(tmp_path: Path) -> None:
    ctx = context(tmp_path, DOOR, name="a")
    (allowed,) = Declared(DOOR, ctx).root_commands.values()
    told = json.loads(content(ctx, DOOR, "door.json"))
    helper, *command = told["admit"]
    assert helper.endswith("/runtime/root-helper")
    assert command == [str(LAUNCHER), "up", "--wait", "--name", "a", "--root", str(ctx.cloud.root)]
    chosen(command, allowed)
    for other in (
        [*command, "--set", "CONFIG_ONESTACK_JOIN=n"],
        [*command[:-1], "/"],
        [command[0], "destroy", *command[2:]],
        ["/bin/sh", *command[1:]],
    ):
        with pytest.raises(Refused):
            chosen(other, allowed)


def test_what_a_host_does_for_its_controller_is_five_verbs(tmp_path: Path) -> None:
    """Also where who asks is not its controller any more."""
    ctx = dataclasses.replace(
        context(tmp_path, DOOR, name="a", **{JOIN: "y"}), joined=Joined("192.0.2.1", "x", {})
    )
    made = Declared(DOOR, ctx)
    (allowed,) = made.root_commands.values()
    (follower,) = (one for one in made.processes if one.name == "follower")
    helper, *before = follower.arguments["verb"]
    assert helper.endswith("/runtime/root-helper")
    where = follower.arguments["cloud"]
    assert where == ["--name", "a", "--root", str(ctx.cloud.root)]

    def command(verb: str, *words: str, seconds: str = "58") -> list[str]:
        return [*before, seconds, follower.arguments["launcher"], verb, *where, *words]

    for verb, word in (
        ("status", "nova/api"),
        ("doctor", "--hours=24"),
        ("logs", "--lines=20"),
        ("restart", "--timeout=120"),
        ("blame", "-n20"),
    ):
        assert chosen(command(verb, word), allowed).as_root
        for wrong in (
            command(verb, "--root=/"),
            command(verb, "--name", "b"),
            command(verb, word, "--host=all"),
            command(verb, "nova;reboot"),
            command(verb, word, seconds="9999999"),
            command(verb, word, seconds="--signal=KILL"),
            command(verb, word, seconds="1 2"),
            command(verb, word)[1:],
            command(verb, word)[2:],
            ["/bin/sh", *command(verb, word)[1:]],
            [*command(verb)[:-1], "/"],
            [*before, "58", "/bin/sh", verb, *where],
        ):
            with pytest.raises(Refused):
                chosen(wrong, allowed)
    for verb in ("up", "down", "destroy", "leave", "shell", "join", "host", "nic", "answers"):
        with pytest.raises(Refused):
            chosen(command(verb), allowed)
    assert Path(before[0]).exists(), "all machines have it: coreutils"


def test_hosts_questions_lie_where_the_door_alone_comes(tmp_path: Path) -> None:
    """In a folder of root's: nobody puts another in its place."""
    ctx = context(tmp_path, DOOR, **{JOIN: "y"})
    place = verbs.spool(ctx.cloud)
    made = {one.path: one for one in Declared(DOOR, ctx).directories}
    assert (made[place].user, made[place].mode) == ("onestack-door", 0o700)
    assert place.parent == ctx.cloud.run and place.parent not in made
    assert json.loads(content(ctx, DOOR, "door.json"))["asked"] == str(place)


def test_the_command_is_the_program() -> None:
    assert LAUNCHER.name == "onestack" and LAUNCHER.read_text().startswith("#!/bin/sh")


def test_its_settings_are_read_again(tmp_path: Path) -> None:
    ctx = context(tmp_path, DOOR)
    file = tmp_path / "door.json"
    file.write_text(content(ctx, DOOR, "door.json"))
    found = DoorSettings.read(file)
    assert found.controller == ctx.host.name and found.accounts == ctx.secrets["hosts"]
    assert found.accounts not in repr(found)


@pytest.mark.parametrize(
    ("days", "said"),
    [(80, ""), (29.5, "ends on 2"), (0.5, "ends on 2"), (-1, "has ended")],
)
def test_a_certificate_that_ends_is_told_on_both_sides(
    tmp_path: Path, days: float, said: str
) -> None:
    ctx = context(tmp_path, DOOR, **{JOIN: "y"})
    ends = time.time() + days * DAY

    def sign(member: Member) -> Issued:
        return Issued("certificate", "1", ends)

    place = ctx.cloud.data / "door"
    place.mkdir(parents=True)
    kept = Membership(place)
    kept.join(kept.invite("ab" * 32, "compute", "", 3600), Wish("web1", "192.0.2.7", "k"), sign)
    found = list(DOOR.health_checks(ctx))
    assert [said in one.what and "web1" in one.what for one in found] == [True] * bool(said)
    elsewhere = dataclasses.replace(ctx, joined=Joined("192.0.2.1", "x", {}))
    assert list(DOOR.health_checks(elsewhere)) == [], "before the first up there is none"
    tls = joined.own(elsewhere)
    tls.certificate.parent.mkdir(parents=True)
    tls.certificate.write_text(certificate(days))
    found = list(DOOR.health_checks(elsewhere))
    assert [said in one.what and "this host" in one.what for one in found] == [True] * bool(said)
    assert all("onestack" in one.cure for one in found)


def test_hosts_that_do_not_follow_are_told_of(tmp_path: Path) -> None:
    """On the controller each with what mends it, and on the host itself."""
    ctx = context(tmp_path, DOOR, **{JOIN: "y"})
    place = ctx.cloud.data / "door"
    place.mkdir(parents=True)
    kept = Membership(place)

    def sign(member: Member) -> Issued:
        return Issued("certificate", "1", time.time() + 89 * 86400)

    made = kept.join(
        kept.invite("ab" * 32, "compute", "", 3600), Wish("web1", "192.0.2.7", "k"), sign
    )
    kept.admitted([made.identity])
    (found,) = DOOR.health_checks(ctx)
    assert found.severity is Severity.WARN and "web1 may be up to date or not" in found.what
    there = dataclasses.replace(ctx, joined=Joined("192.0.2.1", "x", {}))
    memory = follower.memory(ctx.cloud)
    memory.write_text(json.dumps({"problem": "no room", "again": 0.0}))
    (found,) = DOOR.health_checks(there)
    assert (found.severity, found.why) == (Severity.WARN, "no room")
    assert "onestack up" in found.cure


def certificate(days: float) -> str:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(certificates.named("web1"))
        .issuer_name(certificates.named("web1"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return certificates.pem(made)


def test_where_nobody_comes_there_is_no_door(tmp_path: Path) -> None:
    away = dataclasses.replace(MACHINE, public_address="127.0.0.1")
    (refusal,) = DOOR.preflight_checks(context_on(away, tmp_path, DOOR))
    assert "CONFIG_CONTROLLER_HOST" in refusal.cure
    assert not list(DOOR.preflight_checks(context(tmp_path, DOOR)))


@needs_haproxy
def test_haproxy_reads_its_file(tmp_path: Path) -> None:
    ctx = context(tmp_path, DOOR)
    text = content(ctx, DOOR, "haproxy.cfg")
    assert f"bind {ctx.public}:9443\n" in text
    # its certificates are not there
    text = text.replace(" ssl crt", " #").replace("if { ssl_fc_sni", "if { req.ssl_sni")
    file = tmp_path / "haproxy.cfg"
    file.write_text(text)
    done = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
