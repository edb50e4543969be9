"""`verify --end-to-end`: what is made, what is said where it fails, and that nothing stays."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from onestack.cli import lock
from onestack.cli import verify as verb
from onestack.cloudapi import emptying
from onestack.components.cinder import Cinder
from onestack.components.glance import Glance
from onestack.components.heat import Heat
from onestack.components.keystone import Keystone
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.swift import Swift
from onestack.components.tempest import leftovers
from onestack.diagnose import trial
from onestack.diagnose.trial import account, made, network, others, server, volume
from onestack.diagnose.trial.made import NAME, Made
from onestack.host import links
from onestack.host.command import CommandResult
from onestack.model.context import Context
from onestack.model.errors import BadAnswers, OnestackError
from tests.unit.components.rooms import context_on, machine

Item = dict[str, Any]
PUBLIC = {"id": "out", "name": "public", "subnets": ["o"], "is_default": True}
ALL = (
    *("a token", "a network", "a router to the outside", "a server", "a floating IP"),
    *("ssh to the server", "a volume", "the volume in the server", "an object", "a stack"),
    trial.REMOVED,
)


class Answer:
    def __init__(self, status: int, body: Any) -> None:
        raw = isinstance(body, bytes)
        self.status_code, self.body = status, body
        self.content = body if raw else json.dumps(body).encode()
        self.text = self.content.decode(errors="replace")
        kind = "application/octet-stream" if raw else "application/json"
        self.headers = {"Content-Type": kind}

    def json(self) -> Any:
        return self.body


class Cloud:
    """All services' public APIs, as the trial's own user is answered by them.

    ``special`` has other answers: "METHOD last/words/of/the/path" -> status and body.
    """

    def __init__(self, **special: tuple[int, Any]) -> None:
        self.special = special
        self.asked: list[str] = []
        self.external: list[Item] = [PUBLIC]
        self.subnets: list[Item] = [{"cidr": "172.24.4.0/24"}]
        self.status = {"server": "ACTIVE", "volume": "available", "stack": "CREATE_COMPLETE"}
        self.stored = b""
        self.interrupts = ""

    def all(self, kind: str, **query: str) -> list[Item]:
        """What the administrator is told, and users are not."""
        assert (kind, query) == ("subnet", {"network_id": "out", "ip_version": "4"})
        return self.subnets

    def request(self, url: str, method: str, json: Any = None, **more: Any) -> Answer:
        path = urlsplit(url).path
        assert url.startswith("https://"), "at the public addresses"
        told = f"{method} {path}"
        self.asked.append(told)
        if self.interrupts and told.endswith(self.interrupts):
            raise KeyboardInterrupt
        for ending, (status, body) in self.special.items():
            if told.endswith(ending):
                return Answer(status, body)
        return Answer(200, self._answer(path, method, json, more))

    def _answer(self, path: str, method: str, body: Any, more: Item) -> Any:
        last = path.rpartition("/")[2]
        if "AUTH_" in path:
            self.stored = more["data"] or self.stored if method == "PUT" else self.stored
            return self.stored if method == "GET" else {}
        if "stacks" in path:
            outputs = [{"output_key": "word", "output_value": "x" * others.LENGTH}]
            state = {"stack_status": self.status["stack"], "stack_status_reason": "so"}
            return {"stack": {"id": "k", "outputs": outputs, **state}}
        if last == "os-volume_attachments":
            self.status["volume"] = "in-use"
        fault = {"message": "No valid host was found."}
        fixed = [{"ip_address": "10.9", "subnet_id": "s"}]
        volume = {"volume": {"id": "vol", "status": self.status["volume"]}}
        known: dict[str, Any] = {
            "POST ports": {"port": {"id": "q", "fixed_ips": fixed}},
            "GET networks": {"networks": list(self.external)},
            "POST floatingips": {"floatingip": {"floating_ip_address": "172.24.4.7"}},
            "POST servers": {"server": {"id": "srv"}},
            "GET srv": {"server": {"status": self.status["server"], "fault": fault}},
            "POST action": {"output": "guest: one\nguest: two\n"},
            "POST os-volume_attachments": {"volumeAttachment": {"device": "/dev/vdb"}},
            "POST volumes": volume,
            "GET vol": volume,
            "GET messages": {"messages": [{"user_message": "there is no room in the pool"}]},
        }
        other = {last.removesuffix("s").replace("-", "_"): {"id": last}}
        return known.get(f"{method} {last}", other)


class Admin:
    """What administrators do: the account, before and after."""

    def __init__(self) -> None:
        self.there: dict[str, list[Item]] = {"projects": [], "users": []}
        self.told: list[str] = []


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


@pytest.fixture
def admin(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Admin:
    made_by = Admin()

    def token(state: Made) -> str:
        state.session, state.project = cloud, "p"  # type: ignore[assignment]
        made_by.there = {"projects": [{"id": "p"}], "users": [{"id": "u"}]}
        return "given"

    def remove_project(ctx: Context, project: str, tell: Any = None) -> list[str]:
        made_by.told.append(f"project {project}")
        made_by.there["projects"] = []
        return []

    def remove_user(ctx: Context, user: str) -> None:
        made_by.told.append(f"user {user}")
        made_by.there["users"] = []

    monkeypatch.setattr(account, "token", token)
    monkeypatch.setattr(account, "_found", lambda made, kind, ours=True: made_by.there[kind])
    monkeypatch.setattr(account, "_flavor", lambda made: False)
    monkeypatch.setattr(emptying, "remove_project", remove_project)
    monkeypatch.setattr(emptying, "remove_user", remove_user)
    image = {"id": "i", "name": "cirros", "size": 1}
    monkeypatch.setattr(server, "_image", lambda made: (image, True))
    monkeypatch.setattr(network, "neutron_of", lambda ctx: cloud)
    monkeypatch.setattr(server, "_flavor", lambda made, image, own: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    for module in (server, volume, made):
        monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return made_by


class Guest:
    """Typed commands, and what a guest says; its disks grow once one is attached."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.typed: list[list[str]] = []
        self.reached = True
        self.sees = True

    def run(self, words: list[str], **_: Any) -> CommandResult:
        words = [str(word) for word in words]
        self.typed.append(words)
        code, out = 0, ""
        if not self.reached:
            code, out = 255, ""
        elif words[-1] == "hostname":
            out = "onestack-verify\n"
        elif "/sys/block" in words[-1]:
            disks = {"vda": volume.SECTORS}
            if self.sees and self.cloud.status["volume"] == "in-use":
                disks["vdb"] = volume.SECTORS
            # as grep does it
            named = len(disks) > 1 or " -H " in words[-1]
            lines = (f"/sys/block/{n}/size:{s}" if named else f"{s}" for n, s in disks.items())
            out = "".join(f"{line}\n" for line in lines)
        return CommandResult(tuple(words), code, out, "no route" if code else "", 0.0)


@pytest.fixture
def guest(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Guest:
    found = Guest(cloud)
    monkeypatch.setattr(server, "run", found.run)
    own = {"br-ex": ("172.24.4.1/24", "fe80::1/64")}
    monkeypatch.setattr(links, "addresses", lambda: own)
    for module, names in ((server, ("ACTIVE", "REACHED")), (volume, ("READY", "SEEN"))):
        for name in names:
            monkeypatch.setattr(module, name, 0.0)
    return found


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    rooms = (Keystone(), Glance(), Nova(), Neutron(), Cinder(), Swift(), Heat())
    on = {"CONFIG_SWIFT_INSTALL": "y", "CONFIG_HEAT_INSTALL": "y", "CONFIG_NEUTRON_L2_AGENT": "ovn"}
    return context_on(machine(), tmp_path, *rooms, **on)


def tried(ctx: Context) -> dict[str, trial.Tried]:
    heard: list[trial.Tried] = []
    found = trial.trial(ctx, heard.append)
    assert heard == found
    return {one.what: one for one in found}


def test_all_of_it(ctx: Context, admin: Admin, cloud: Cloud, guest: Guest) -> None:
    found = tried(ctx)
    assert {name: one.why for name, one in found.items() if not one.ok} == {}
    assert tuple(found) == ALL
    assert found["ssh to the server"].said == "at 172.24.4.7; it calls itself onestack-verify"
    assert found["the volume in the server"].said == "seen as vdb"
    assert admin.told == ["project p", "user u"]
    assert not (ctx.cloud.run / "verify").exists()
    login = next(words for words in guest.typed if words[-1] == "hostname")
    # the key is a file's: no secret stands on a command line
    assert login[login.index("-i") + 1] == str(ctx.cloud.run / "verify" / "key")
    assert login[-2] == "@172.24.4.7" or login[-2].endswith("@172.24.4.7")


def test_in_a_smaller_cloud_less_is_tried(
    tmp_path: Path, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    found = tried(context_on(machine(), tmp_path, Keystone(), Glance(), Cinder()))
    assert tuple(found) == ("a token", "a volume", trial.REMOVED)


def test_without_an_outside_the_way_is_the_networks_own(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    cloud.subnets = []
    found = tried(ctx)
    router = found["a router to the outside"]
    assert (router.ok, router.why) == (None, "there is no external network with a subnet of IPv4")
    address = found["a floating IP"]
    assert (address.ok, address.why) == (None, "without a router to the outside")
    assert found["ssh to the server"].ok and found["the volume in the server"].said == "seen as vdb"
    login = next(words for words in guest.typed if words[-1] == "hostname")
    assert login[:4] == ["ip", "netns", "exec", "ovnmeta-networks"] and login[-2].endswith("@10.9")


@pytest.mark.parametrize(
    ("what", "status", "said", "why", "cure"),
    [
        (
            *("server", "ERROR", "the server is ERROR"),
            *("No valid host was found.", "no compute host has room"),
        ),
        ("volume", "error", "the volume is error", "there is no room in the pool", "cinder"),
        ("stack", "CREATE_FAILED", "the stack is CREATE_FAILED", "so", "onestack logs heat"),
    ],
)
def test_what_ends_badly_is_told_with_cause_and_cure(
    ctx: Context,
    admin: Admin,
    cloud: Cloud,
    guest: Guest,
    what: str,
    status: str,
    said: str,
    why: str,
    cure: str,
) -> None:
    cloud.status[what] = status
    found = tried(ctx)
    one = found[f"a {what}"]
    assert (one.ok, one.said, one.why) == (False, said, why)
    assert cure in one.cure
    # what does not need it goes on, and all is removed
    assert found["an object"].ok and found[trial.REMOVED].ok
    assert admin.told == ["project p", "user u"]
    if what == "server":
        assert found["ssh to the server"].why == "without a server"


def test_a_refusal_is_the_services_own_words(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    cloud.special = {"POST /v2.1/servers": (403, {"forbidden": {"message": "Quota exceeded"}})}
    one = tried(ctx)["a server"]
    assert one.said == "POST /servers answers 403" and "Quota exceeded" in one.why


def test_a_server_that_is_not_reached(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    guest.reached = False
    found = tried(ctx)
    one = found["ssh to the server"]
    assert not one.ok and "ssh does not reach it at 172.24.4.7" in one.said
    assert one.why.splitlines() == ["no route", "its console:", "guest: one", "guest: two"]
    assert found["the volume in the server"].said.endswith("nobody could look into the guest")


def test_a_volume_that_the_guest_does_not_see(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    guest.sees = False
    one = tried(ctx)["the volume in the server"]
    assert not one.ok and "the guest has vda" in one.why


def test_a_guest_that_does_not_tell_its_disks(
    ctx: Context, admin: Admin, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own disk would be taken for the volume."""
    monkeypatch.setattr(volume, "disks", lambda made: {})
    one = tried(ctx)["the volume in the server"]
    assert one.ok is False and one.said == "the guest does not tell which disks it has"


def test_what_is_read_back_is_compared(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    cloud.special = {f"GET /v1/AUTH_p/{NAME}/{NAME}": (200, b"other")}
    one = tried(ctx)["an object"]
    assert not one.ok and one.said == "what is read back is not what was stored"


def test_what_was_made_goes_when_it_is_stopped(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    cloud.interrupts = "GET /v2.1/servers/srv"
    heard: list[trial.Tried] = []
    with pytest.raises(KeyboardInterrupt):
        trial.trial(ctx, heard.append)
    assert heard[-1].what == trial.REMOVED and heard[-1].ok
    assert admin.told == ["project p", "user u"]
    assert not (ctx.cloud.run / "verify").exists()


def test_what_a_killed_one_has_left_goes_first(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest
) -> None:
    admin.there = {"projects": [{"id": "old"}], "users": [{"id": "older"}]}
    (ctx.cloud.run / "verify").mkdir(parents=True)
    found = tried(ctx)
    assert next(iter(found)) == "what an earlier one left"
    assert admin.told == ["project old", "user older", "project p", "user u"]


def test_what_stays_is_a_failure(
    ctx: Context, admin: Admin, cloud: Cloud, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emptying, "remove_project", lambda ctx, project: ["servers: 1"])
    one = tried(ctx)[trial.REMOVED]
    assert (one.ok, one.said, one.why) == (False, "something stays", "servers: 1")


class Keystone3:
    """Keystone, as the administrator asks it."""

    def __init__(self, description: str) -> None:
        self.description = description

    def get(self, url: str, params: Item) -> Answer:
        kind = urlsplit(url).path.rpartition("/")[2]
        item = {"id": "x", "name": NAME, "description": self.description}
        return Answer(200, {kind: [item] if params.get("name") == NAME else []})


def test_a_stranger_of_the_same_name_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context_on(machine(), tmp_path, Keystone())
    monkeypatch.setattr(account, "admin_session", lambda ctx: Keystone3("mine"))
    assert not account.left(Made(ctx))
    assert account.remove(Made(ctx)) == ""
    with pytest.raises(OnestackError, match="none of verify's"):
        account.token(Made(ctx))
    monkeypatch.setattr(account, "admin_session", lambda ctx: Keystone3(account.DESCRIPTION))
    assert account.left(Made(ctx))


def test_the_key_is_ssh_s_own(tmp_path: Path) -> None:
    state = Made(context_on(machine(), tmp_path, Keystone()))
    public = server._key(state)
    assert public.startswith("ecdsa-sha2-nistp256 ")
    private = state.folder / "key"
    assert private.stat().st_mode & 0o777 == 0o600
    assert state.folder.stat().st_mode & 0o777 == 0o700
    assert private.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")


# -- the verb ------------------------------------------------------------------


def typed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verb.options(parser)
    return parser.parse_args(words)


@pytest.fixture
def unlocked(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def nothing(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(lock, "changing", nothing)
    monkeypatch.setattr(verb, "end_orphans", lambda: 0)


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (None, 0), (False, 1)])
def test_the_exit_code(
    ctx: Context,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unlocked: None,
    ok: bool | None,
    code: int,
) -> None:
    one = trial.Tried("a server", ok, "so it is", 12.34, "because\nof that", "do this")

    def one_stage(ctx: Context, heard: Any) -> list[trial.Tried]:
        heard(one)
        return [one]

    monkeypatch.setattr(trial, "trial", one_stage)
    assert verb.end_to_end(ctx, as_json=False) == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *verb.OUTCOMES[ok].split(),
        "12.3",
        "s",
        "a",
        "server:",
        *("so", "it", "is"),
    ]
    shown = [line.strip() for line in lines[1:4]]
    assert (shown == ["why:  because", "of that", "cure: do this"]) is (ok is False)
    assert verb.end_to_end(ctx, as_json=True) == code
    told = json.loads(capsys.readouterr().out)
    assert told["well"] is (code == 0) and told["checks"][0]["seconds"] == 12.34


@pytest.mark.parametrize("words", [("--end-to-end", "--clean"), ("--clean", "--tempest", "x")])
def test_one_thing_at_a_time(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed(*words)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--concurrency", "2"), "of no use without --tempest"),
        (("--end-to-end", "--skip", "x"), "of no use without --tempest"),
        (("--tempest", "smoke", "--concurrency", "0"), "1 or more"),
    ],
)
def test_what_cannot_be_meant(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadAnswers, match=says):
        verb.selected(typed(*words))
    wanted = verb.selected(typed("--tempest", "api", "--concurrency", "4"))
    assert wanted is not None and (wanted.tests, wanted.workers) == ("api", 4)


def test_what_is_left_of_both_kinds_is_removed(
    ctx: Context,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unlocked: None,
) -> None:
    removed: list[str] = []
    left = [True]

    def remove(made: Made) -> str:
        removed.append("trial")
        left[0] = False
        return ""

    wrong: list[str] = []
    monkeypatch.setattr(account, "left", lambda made: left[0])
    monkeypatch.setattr(account, "remove", remove)
    monkeypatch.setattr(leftovers, "remove", lambda ctx, heard: wrong)
    assert verb.clean(ctx, as_json=False) == 0
    assert removed == ["trial"]
    assert "removing what a trial" in capsys.readouterr().out
    assert verb.clean(ctx, as_json=False) == 0
    assert capsys.readouterr().out == "Nothing is left of an earlier run.\n"
    wrong.append("the project x: networks: 1 are still there")
    assert verb.clean(ctx, as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == {"well": False, "said": []}


def test_one_kind_that_stays_does_not_keep_the_other(
    ctx: Context,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    unlocked: None,
) -> None:
    tried: list[str] = []

    def stays(made: Made) -> str:
        raise OnestackError("something stays", "servers: 1", "see doctor")

    def gone(ctx: Context, heard: Any) -> list[str]:
        tried.append("tempest")
        return []

    def unread(ctx: Context, heard: Any) -> list[str]:
        raise OnestackError("the note cannot be read")

    monkeypatch.setattr(account, "left", lambda made: True)
    monkeypatch.setattr(account, "remove", stays)
    monkeypatch.setattr(leftovers, "remove", gone)
    assert verb.clean(ctx, as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["well"] is False and tried == ["tempest"]
    assert said["said"][1].startswith("not removed: something stays")
    monkeypatch.setattr(account, "left", lambda made: False)
    monkeypatch.setattr(leftovers, "remove", unread)
    assert verb.clean(ctx, as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert said == {"well": False, "said": ["not removed: the note cannot be read"]}
