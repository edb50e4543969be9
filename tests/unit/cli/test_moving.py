"""Drain, undrain and evacuate, against a nova of HTTP that answers as the real one does."""

from __future__ import annotations

import argparse
import http.server
import itertools
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.noauth import NoAuth

from onestack.cli import moving
from onestack.cloudapi import begun as notes
from onestack.cloudapi import moving as verb
from onestack.cloudapi.compute import Compute
from onestack.cloudapi.session import CloudSession
from onestack.components import ALL
from onestack.kernel.files import write
from onestack.model.errors import BadAnswers, OnestackError
from tests.unit.components.rooms import context

HOST, TASK = verb.HOST, verb.TASK
VOLUMES = "os-extended-volumes:volumes_attached"


def server(name: str, host: str = "web1", **more: Any) -> dict[str, Any]:
    """``task`` and ``volumes`` are what nova calls otherwise."""
    found = {"id": f"id-{name}", "name": name, "status": "ACTIVE", HOST: host}
    own = {TASK: more.pop("task", None), VOLUMES: more.pop("volumes", [])}
    return {**found, **own, **more}


def migration(
    identity: str, kind: str, status: str = "running", source: str = "web1"
) -> dict[str, str]:
    made = {"uuid": f"m-{next(NUMBERS)}", "source_compute": source}
    return {"instance_uuid": identity, "migration_type": kind, "status": status, **made}


NUMBERS = itertools.count()


@dataclass
class Nova:
    """``looks`` is how often a move is seen under way."""

    servers: list[dict[str, Any]]
    state: str = "up"
    status: str = "enabled"
    reason: str | None = None
    looks: int = 2
    refuses: dict[str, str] = field(default_factory=dict)
    """Server's id to what the action is answered with, at once."""
    fails: dict[str, str] = field(default_factory=dict)
    """Server's id to why nova gives up after it has begun."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)
    actions: dict[str, str] = field(default_factory=dict)
    migrations: list[dict[str, str]] = field(default_factory=list)
    """The newest first."""

    def one(self, identity: str) -> dict[str, Any] | None:
        return next((s for s in self.servers if s["id"] == identity), None)

    def looked(self, server: dict[str, Any]) -> None:
        mine = [m for m in self.migrations if m["instance_uuid"] == server["id"]]
        moves = mine and mine[0]["status"] in ("running", "confirming", "confirmed")
        if moves and mine[0]["migration_type"] == "migration":
            self.looked_cold(server, mine[0])
            return
        if not (server[TASK] or moves) or server.get("busy"):
            return
        server["looks"] = server.get("looks", 0) + 1
        if server["looks"] < self.looks:
            return
        evacuates = self.actions.get(server["id"]) == "evacuate"
        if evacuates and server[TASK] and server["id"] not in self.fails:
            # the task ends before nova says where the server is
            server[TASK] = None
            return
        server[TASK] = None
        if moves:
            mine[0]["status"] = "failed" if server["id"] in self.fails else "done"
        if server["id"] not in self.fails:
            server[HOST] = "head"
            server["status"] = "ACTIVE"
        elif evacuates:
            server["status"] = "ERROR"
            server["fault"] = {"message": self.fails[server["id"]]}
        else:
            server["status"] = "ACTIVE"

    def looked_cold(self, server: dict[str, Any], now: dict[str, str]) -> None:
        server["looks"] = server.get("looks", 0) + 1
        if now["status"] == "confirmed":
            # nova says so a moment before the server does
            server["status"] = "SHUTOFF"
        elif server["looks"] < self.looks:
            return
        elif now["status"] == "confirming":
            now["status"] = "confirmed"
        elif server["id"] in self.fails:
            now["status"], server["status"], server[TASK] = "error", "SHUTOFF", None
        else:
            now["status"], server["status"], server[TASK] = "finished", "VERIFY_RESIZE", None
            server[HOST] = "head"

    def get(self, path: str, query: str) -> tuple[int, dict[str, Any]]:
        parts = path.strip("/").split("/")
        if parts[0] == "os-services":
            assert "host=web1" in query or "host=nobody" in query
            own = {"id": "s", "status": self.status, "state": self.state, "host": "web1"}
            known = [] if "nobody" in query else [{**own, "disabled_reason": self.reason}]
            return 200, {"services": known}
        if parts == ["servers", "detail"]:
            assert "host=web1" in query and "all_tenants=True" in query
            return 200, {"servers": [s for s in self.servers if s[HOST] == "web1"]}
        if parts == ["os-migrations"]:
            asked = dict(urllib.parse.parse_qsl(query))
            assert asked.keys() in ({"instance_uuid"}, {"source_compute", "status"})
            mine = [m for m in self.migrations if asked.items() <= m.items()]
            return 200, {"migrations": mine}
        found = self.one(parts[1])
        if found is None:
            return 404, {"itemNotFound": {"message": "none"}}
        if parts[2:] == []:
            self.looked(found)
            return 200, {"server": found}
        if parts[2:] == ["migrations"]:
            far = {"memory_total_bytes": 128 << 20, "memory_remaining_bytes": 64 << 20}
            return 200, {"migrations": [far] if found[TASK] else []}
        if parts[2:] == ["os-instance-actions"]:
            made = {"action": "live-migration", "request_id": "req-2", "message": "Error"}
            if self.actions.get(found["id"]) == "migrate":
                made["action"] = "migrate"
            old = {"action": "create", "request_id": "req-1", "message": None}
            return 200, {"instanceActions": [made, old]}
        assert parts[2:] == ["os-instance-actions", "req-2"]
        events = [
            {"result": "Success", "details": None},
            {"result": "Error", "details": self.fails[found["id"]]},
        ]
        return 200, {"instanceAction": {"events": events}}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _, identity, what = path.strip("/").split("/")
        assert what == "action"
        found = self.one(identity)
        assert found
        self.asked.append((identity, body))
        if identity in self.refuses:
            return 400, {"badRequest": {"message": self.refuses[identity], "code": 400}}
        (action,) = body
        mine = [m for m in self.migrations if m["instance_uuid"] == identity]
        if action == "confirmResize":
            if self.state != "up":
                return 409, {"conflictingRequest": {"message": "Service is unavailable"}}
            if not mine or mine[0]["status"] != "finished":
                return 400, {"badRequest": {"message": "Instance has not been resized."}}
            mine[0]["status"], found["looks"] = "confirming", 0
            return 202, {}
        self.actions[identity] = action
        if action == "migrate":
            assert found["status"] == "SHUTOFF"
            found[TASK], found["status"] = "resize_prep", "RESIZE"
            self.migrations.insert(0, migration(identity, "migration"))
            return 202, {}
        found[TASK] = "rebuilding" if action == "evacuate" else "migrating"
        kind = "evacuation" if action == "evacuate" else "live-migration"
        self.migrations.insert(0, migration(identity, kind))
        return 202, {}

    def put(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert path == "/os-services/s"
        self.status, self.reason = body["status"], body.get("disabled_reason")
        return 200, {"service": {}}


def handler(nova: Nova) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *given: Any) -> None:
            pass

        def answer(self, status: int, body: dict[str, Any]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def body(self) -> dict[str, Any]:
            nova.versions.add(self.headers.get("OpenStack-API-Version", ""))
            read: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            return read

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            self.answer(*nova.get(path, query))

        def do_POST(self) -> None:
            self.answer(*nova.post(self.path, self.body()))

        def do_PUT(self) -> None:
            self.answer(*nova.put(self.path, self.body()))

    return Handler


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Types a verb at a controller whose nova that is."""
    monkeypatch.setattr(verb, "PAUSE", 0.01)
    running: list[http.server.ThreadingHTTPServer] = []

    def type_it(nova: Nova, what: str, *, yes: bool = False, move: str = "y", **of: str) -> int:
        daemon = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(nova))
        running.append(daemon)
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{daemon.server_address[1]}"
        session = CloudSession(auth=NoAuth(endpoint=url))
        given = {"CONFIG_ONESTACK_JOIN": "y", "CONFIG_ONESTACK_MOVE": move}
        ctx = context(tmp_path, *ALL, **given)
        monkeypatch.setattr(moving, "compute_of", lambda ctx: Compute(session, url))
        monkeypatch.setattr(moving, "context", lambda *given, **more: ctx)
        args = argparse.Namespace(what=what, host=of.get("host", "Web1"), yes=yes)
        return moving.run(ctx.cloud, args)

    yield type_it
    for daemon in running:
        daemon.shutdown()
        daemon.server_close()


def test_all_that_run_are_moved(typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    nova = Nova([server("one"), server("two", status="PAUSED"), server("other", host="head")])
    assert typed(nova, "drain") == 0
    assert (nova.status, nova.reason) == ("disabled", moving.REASON)
    body = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    assert nova.asked == [("id-one", body), ("id-two", body)]
    assert "compute 2.84" in nova.versions
    said = capsys.readouterr().out
    assert "one is on head" in said and "1 of 2" in said and "web1 has no servers" in said
    assert typed(nova, "undrain") == 0
    assert nova.status == "enabled"


def test_those_that_stay_are_told_with_the_reason(
    typed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    nova = Nova(
        [
            server("asleep", status="SUSPENDED"),
            server("busy", task="image_snapshot", busy=True),
            server("with-volumes", volumes=[{"id": "v"}]),
            server("big"),
            server("broken"),
            server("well"),
        ],
        refuses={"id-big": "No valid host was found."},
        fails={"id-broken": "Live Migration failure: no way"},
    )
    assert typed(nova, "drain") == 1
    moved = ["id-with-volumes", "id-big", "id-broken", "id-well"]
    assert [identity for identity, _ in nova.asked] == moved
    told = capsys.readouterr().err
    assert "4 of 6 servers are still on web1" in told
    for name, why in {
        "asleep": "it is suspended",
        "busy": "nova is at work on it (image_snapshot)",
        "big": "No valid host was found.",
        "broken": "Live Migration failure: no way",
    }.items():
        assert f"{name} (id-{name}): " in told and why in told
    assert "well" not in told and "with-volumes" not in told
    assert nova.status == "disabled", "what is there may end, and no other comes"


def test_a_drain_that_was_killed_goes_on(typed: Any) -> None:
    nova = Nova([server("one", task="migrating", status="MIGRATING"), server("two")])
    nova.status, nova.reason = "disabled", moving.REASON
    assert typed(nova, "drain") == 0
    assert [identity for identity, _ in nova.asked] == ["id-two"], "the one was only waited for"


def begun(nova_of: Path) -> dict[str, Any]:
    file = nova_of / "etc" / "draining-web1.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    place = tmp_path / "etc"
    place.mkdir()
    return tmp_path


COLD = [("id-off", {"migrate": None}), ("id-off", {"confirmResize": None})]


def test_one_that_is_off_goes_and_stays_off(
    typed: Any, etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nova = Nova([server("off", status="SHUTOFF"), server("one")])
    nova.migrations = [migration("id-off", "resize", "confirmed")]
    assert typed(nova, "drain") == 0
    assert nova.asked[:2] == COLD and [identity for identity, _ in nova.asked[2:]] == ["id-one"]
    assert (nova.servers[0][HOST], nova.servers[0]["status"]) == ("head", "SHUTOFF")
    assert "off is on head" in capsys.readouterr().out
    assert begun(etc) == {}


def test_one_that_is_off_and_does_not_go(
    typed: Any, etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nova = Nova(
        [server("off", status="SHUTOFF"), server("big", status="SHUTOFF")],
        fails={"id-off": "the volume 1 is in a volume group"},
        refuses={"id-big": "it is locked"},
    )
    assert typed(nova, "drain") == 1
    told = capsys.readouterr().err
    assert "the volume 1 is in a volume group" in told and "it is locked" in told
    assert begun(etc) == {}


@pytest.mark.parametrize("moment", ["asked", "copied", "waits", "confirming"])
@pytest.mark.parametrize("what", ["drain", "undrain"])
def test_a_drain_killed_over_one_that_is_off(
    typed: Any, etc: Path, monkeypatch: pytest.MonkeyPatch, moment: str, what: str
) -> None:
    """Whatever it was at: the next one ends it, and so does who has servers come again."""
    nova = Nova([server("off", status="SHUTOFF")])
    once = [moment]

    def killed(seconds: float) -> None:
        one, mine = nova.servers[0], nova.migrations
        status = mine[0]["status"] if mine else ""
        if (
            once
            and {
                "asked": one[TASK] == "resize_prep",
                "copied": one[TASK] is not None,
                "waits": one["status"] == "VERIFY_RESIZE",
                "confirming": status == "confirming",
            }[moment]
        ):
            once.clear()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(time, "sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            typed(nova, "drain")
    assert begun(etc) == {"id-off": ""}
    if moment == "asked":
        # nova has not written down that there is a migration
        nova.migrations.clear()
        nova.looks = 10**6

        def goes_on(seconds: float) -> None:
            if not nova.migrations:
                nova.migrations.insert(0, migration("id-off", "migration"))
                nova.looks = 2

        monkeypatch.setattr(time, "sleep", goes_on)
    assert typed(nova, what) == 0
    assert (nova.servers[0][HOST], nova.servers[0]["status"]) == ("head", "SHUTOFF")
    assert nova.asked == COLD and begun(etc) == {}


def test_what_others_have_begun_is_not_confirmed(
    typed: Any, etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's resize; an administrator's move of a server that a drain had once been at."""
    nova = Nova(
        [
            server("resized", status="VERIFY_RESIZE"),
            server("moved", "head", status="VERIFY_RESIZE"),
            server("back", "head", status="VERIFY_RESIZE"),
        ],
        migrations=[
            migration("id-resized", "resize", "finished"),
            migration("id-moved", "resize", "finished"),
            {**migration("id-moved", "migration", "confirmed"), "uuid": "m-before"},
            migration("id-back", "migration", "finished", source="web2"),
        ],
    )
    note = {"id-moved": "m-before", "id-back": ""}
    (etc / "etc" / "draining-web1.json").write_text(json.dumps(note))
    assert typed(nova, "drain") == 1
    assert nova.asked == []
    told = capsys.readouterr().err
    assert told.count("waits to be confirmed") == 3


@pytest.mark.parametrize("before", ["", "m-before"])
@pytest.mark.parametrize("what", ["drain", "undrain"])
def test_who_moves_it_himself_after_a_killed_drain_keeps_the_way_back(
    typed: Any, etc: Path, before: str, what: str
) -> None:
    """He has reverted the drain's move: his own from the same host looks just like it."""
    older = [{**migration("id-off", "migration", "confirmed"), "uuid": before}] if before else []
    nova = Nova(
        [server("off", "head", status="VERIFY_RESIZE")],
        migrations=[
            migration("id-off", "migration", "finished"),
            migration("id-off", "migration", "reverted"),
            *older,
        ],
    )
    (etc / "etc" / "draining-web1.json").write_text(json.dumps({"id-off": before}))
    assert typed(nova, what) == 1
    assert nova.asked == [] and nova.migrations[0]["status"] == "finished"


@pytest.mark.parametrize("what", ["drain", "undrain"])
def test_what_could_not_be_confirmed_is_told_and_confirmed_later(
    typed: Any, etc: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """The host was started anew meanwhile."""
    moved = migration("id-off", "migration", "finished")
    nova = Nova([server("off", "head", status="VERIFY_RESIZE")], migrations=[moved], state="down")
    (etc / "etc" / "draining-web1.json").write_text(json.dumps({"id-off": ""}))
    assert typed(nova, what) == 1
    told = capsys.readouterr().err
    assert "1 servers have left web1" in told and "Service is unavailable" in told
    assert "still on web1" not in told and begun(etc) == {"id-off": ""}
    nova.state = "up"
    assert typed(nova, what) == 0
    assert (nova.servers[0]["status"], begun(etc)) == ("SHUTOFF", {})


def test_one_that_a_drain_sends_and_cannot_confirm_is_not_still_there(
    typed: Any, etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nova = Nova([server("off", status="SHUTOFF")])

    def ends(seconds: float) -> None:
        nova.state = "down"

    monkeypatch.setattr(time, "sleep", ends)
    assert typed(nova, "drain") == 1
    told = capsys.readouterr().err
    assert "1 servers have left web1" in told and told.count("id-off") == 1
    assert "still on web1" not in told and begun(etc) == {"id-off": ""}


def test_a_host_that_keeps_what_others_go_back_to_is_not_empty(
    typed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's, with another flavor elsewhere; of some it is over, or they are gone."""
    nova = Nova(
        [
            server("resized", "head", status="VERIFY_RESIZE"),
            server("from-web2", "head", status="VERIFY_RESIZE"),
            server("again", "head"),
        ],
        migrations=[
            migration("id-resized", "resize", "finished"),
            migration("id-from-web2", "resize", "finished", source="web2"),
            migration("id-again", "resize", "finished"),
            migration("id-deleted", "resize", "finished"),
        ],
    )
    assert typed(nova, "drain") == 1
    said = capsys.readouterr()
    assert "has no servers" not in said.out and nova.asked == []
    assert "1 servers have left web1, which keeps what they were" in said.err
    assert "resized (id-resized): its resize waits" in said.err
    assert not re.search("from-web2|again|deleted", said.err)
    nova.servers[0]["status"] = "ACTIVE"
    assert typed(nova, "drain") == 0


def test_drains_of_two_hosts_do_not_lose_each_others_notes(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes between the other's look and its writing."""
    ctx = context(etc, *ALL)
    one, other = (moving.begun(ctx, name) for name in ("web1", "web2"))

    def late(*given: Any) -> None:
        monkeypatch.undo()
        other.add("id-other", "m-2")
        write(*given)

    monkeypatch.setattr(notes, "write", late)
    one.add("id-one", "m-1")
    assert (one.servers(), other.servers()) == ({"id-one": "m-1"}, {"id-other": "m-2"})


def test_a_note_that_is_damaged_is_said(typed: Any, etc: Path) -> None:
    (etc / "etc" / "draining-web1.json").write_text("{")
    with pytest.raises(OnestackError, match="does not say which servers"):
        typed(Nova([]), "drain")


def test_nothing_is_begun_that_cannot_be_noted(typed: Any) -> None:
    """The cloud's folder is not there."""
    nova = Nova([server("off", status="SHUTOFF")])
    with pytest.raises(OnestackError, match="cannot be written"):
        typed(nova, "drain")
    assert nova.asked == []


def test_where_servers_do_not_move_the_cure_is_said(typed: Any) -> None:
    nova = Nova([server("one")])
    with pytest.raises(OnestackError, match="cannot be moved") as problem:
        typed(nova, "drain", move="n")
    assert "CONFIG_ONESTACK_MOVE=y" in problem.value.cure
    assert nova.status == "enabled" and not nova.asked
    assert typed(Nova([]), "drain", move="n") == 0, "an empty one may rest all the same"


def test_a_dead_host_is_not_drained(typed: Any) -> None:
    with pytest.raises(OnestackError, match="is down") as problem:
        typed(Nova([server("one")], state="down"), "drain")
    assert "host evacuate web1" in problem.value.cure


def test_somebody_elses_reason_is_not_undone(typed: Any) -> None:
    nova = Nova([], status="disabled", reason="a bad disk")
    with pytest.raises(OnestackError, match="disabled otherwise") as problem:
        typed(nova, "undrain")
    assert "a bad disk" in problem.value.why and nova.status == "disabled"


def test_nobody_evacuates_a_host_that_lives(typed: Any) -> None:
    nova = Nova([server("one")])
    with pytest.raises(OnestackError, match="is alive"):
        typed(nova, "evacuate", yes=True)
    assert not nova.asked


def test_what_is_lost_must_be_agreed_to(typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    nova = Nova([server("one")], state="down")
    with pytest.raises(BadAnswers, match="not made anew") as problem:
        typed(nova, "evacuate")
    assert "would be lost" in problem.value.why and not nova.asked


def test_servers_of_a_dead_host_are_made_anew(
    typed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    nova = Nova(
        [server("one"), server("off", status="SHUTOFF"), server("bad")],
        state="down",
        fails={"id-bad": "its image is gone"},
    )
    assert typed(nova, "evacuate", yes=True) == 1
    assert [body for _, body in nova.asked] == [{"evacuate": {}}] * 3
    assert "bad (id-bad): its image is gone" in capsys.readouterr().err
    del nova.servers[-1]
    assert typed(nova, "evacuate", yes=True) == 0
    assert "has no servers" in capsys.readouterr().out


def test_one_that_is_being_made_anew_is_not_asked_for_again(typed: Any) -> None:
    """Nova has ended its task, and has not yet said that it is elsewhere."""
    nova = Nova([server("one")], state="down", migrations=[migration("id-one", "evacuation")])
    assert typed(nova, "evacuate", yes=True) == 0
    assert not nova.asked and nova.servers[0][HOST] == "head"


def test_what_became_of_it_before_does_not_count(typed: Any) -> None:
    ended = [
        migration("id-one", "resize", "finished"),
        *(migration("id-one", "live-migration", status) for status in ("error", "completed")),
    ]
    nova = Nova([server("one")], migrations=ended)
    assert typed(nova, "drain") == 0
    assert [identity for identity, _ in nova.asked] == ["id-one"]


def test_a_host_that_nova_does_not_know(typed: Any) -> None:
    with pytest.raises(OnestackError, match="knows no host called 'nobody'"):
        typed(Nova([]), "drain", host="nobody")


def test_one_that_does_not_get_on_is_said(typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "STUCK", 0.05)
    nova = Nova([server("one")], looks=10**6)
    with pytest.raises(OnestackError, match="does not get any further"):
        typed(nova, "drain")
