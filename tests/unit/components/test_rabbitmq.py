"""The broker's room: its one user, where it listens, and its boot file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from onestack.components.nova import Nova
from onestack.components.rabbitmq import Rabbitmq, accounts, boot
from onestack.components.rabbitmq.accounts import Account, definitions
from onestack.deploy.roster import ports
from onestack.diagnose.machine import Machine
from onestack.diagnose.preflight import Needs, Subject, check_ports, look
from onestack.kernel import disk
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import (
    BusAccount,
    BusExchange,
    BusPolicy,
    BusQueue,
    TopicPermission,
)
from onestack.model.secret import Secret
from tests.support import networks
from tests.support.broker import installed, lay_out
from tests.support.machines import machine
from tests.support.needs import needs_root
from tests.unit.components.rooms import content, context

RABBITMQ = Rabbitmq()


def test_the_password_is_in_no_file_and_no_argument(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    password = ctx.secrets["rabbitmq"]
    for file in RABBITMQ.files(ctx):
        assert password not in file.content
        assert (file.mode, file.group) == (0o640, "onestack-rabbitmq")
    (process,) = RABBITMQ.processes(ctx)
    assert password not in repr(process)


def test_the_broker_can_check_the_password() -> None:
    made = Account(BusAccount("amqp_user", "rabbitmq", "/"), 'it\'s "secret"@')
    (user,) = json.loads(definitions([made]))["users"]
    raw = base64.b64decode(user["password_hash"])
    assert raw[4:] == hashlib.sha256(raw[:4] + b'it\'s "secret"@').digest()
    assert definitions([made]) == definitions([made])
    assert user["tags"] == []
    assert user["name"] == "amqp_user"


class Guests(Component):
    """Two accounts in a virtual host of their own, one of them for whom nobody trusts."""

    name = "guests"
    secrets = (Secret("toy_bus"), Secret("toy_guest_bus"))

    def bus(self, ctx: Context) -> Iterable[BusAccount]:
        exchanges = (
            BusExchange("toy", durable=True),
            BusExchange("for now", durable=False),
            BusExchange("to all", durable=False, kind="fanout"),
        )
        queues = (BusQueue("ours", "for now", durable=False),)
        yield BusAccount("toy", "rabbitmq", "toy", exchanges=exchanges, queues=queues)
        yield BusAccount(
            "toy_guest",
            "rabbitmq",
            "toy",
            configure=r"^guest\..*$",
            topics=(TopicPermission("toy", r"^conductor$", r"^guest\..*$"),),
            policies=(BusPolicy("expiry", r"^guest\.", {"expires": 86_400_000}),),
        )


def test_components_have_accounts_of_their_own(tmp_path: Path) -> None:
    ctx = context(tmp_path, RABBITMQ, Guests())
    found = json.loads(content(ctx, RABBITMQ, "definitions.json"))
    assert found["vhosts"] == [{"name": "/"}, {"name": "toy"}]
    assert [user["name"] for user in found["users"]] == ["openstack", "toy", "toy_guest"]
    rights = {(each["user"], each["vhost"], each["configure"]) for each in found["permissions"]}
    assert rights == {
        ("openstack", "/", ".*"),
        ("toy", "toy", ".*"),
        ("toy_guest", "toy", r"^guest\..*$"),
    }
    (topic,) = found["topic_permissions"]
    assert topic == {
        "user": "toy_guest",
        "vhost": "toy",
        "exchange": "toy",
        "write": "^conductor$",
        "read": r"^guest\..*$",
    }
    assert {(each["vhost"], each["name"]) for each in found["policies"]} == {
        ("/", "notifications"),
        ("toy", "expiry"),
    }
    assert {(e["vhost"], e["name"], e["type"], e["durable"]) for e in found["exchanges"]} == {
        ("toy", "toy", "topic", True),
        ("toy", "for now", "topic", False),
        ("toy", "to all", "fanout", False),
    }
    assert [(q["vhost"], q["name"], q["durable"]) for q in found["queues"]] == [
        ("toy", "ours", False)
    ]
    (bound,) = found["bindings"]
    assert (bound["vhost"], bound["source"], bound["destination"]) == ("toy", "for now", "ours")
    assert (bound["destination_type"], bound["routing_key"]) == ("queue", "ours")
    alone = json.loads(content(context(tmp_path, RABBITMQ), RABBITMQ, "definitions.json"))
    assert alone["vhosts"] == [{"name": "/"}] and len(alone["users"]) == 1
    assert alone["exchanges"] == []


def test_two_accounts_of_one_name_are_refused(tmp_path: Path) -> None:
    ctx = context(tmp_path, RABBITMQ, Guests(), CONFIG_AMQP_AUTH_USER="toy")
    with pytest.raises(ValueError, match="toy"):
        accounts.accounts(ctx)


def test_all_it_listens_on_is_the_clouds_own_address(tmp_path: Path) -> None:
    for name in ("onestack", "a"):
        ctx = context(tmp_path, name=name)
        (process,) = RABBITMQ.processes(ctx)
        words = process.argv
        assert process.env["RABBITMQ_NODE_IP_ADDRESS"] == ctx.internal
        interface = words[words.index("inet_dist_use_interface") + 1]
        assert interface == "{" + ctx.internal.replace(".", ",") + "}"
        assert words[words.index("-start_epmd") + 1] == "false"
        # RabbitMQ's own monitor would start it a minute later, at every address.
        started = ctx.cloud.etc / "rabbitmq" / "started.eval"
        assert words[words.index("-eval") + 1] == f'ok = file:eval("{started}").'
        assert "stop_child(rabbit_epmd_monitor_sup)" in content(ctx, RABBITMQ, started.name)
        assert words[words.index("-name") + 1] == f"rabbit@{ctx.internal}"
        # in the settings it would be without effect
        settings = content(ctx, RABBITMQ, "rabbitmq.config")
        assert "tcp_listeners" not in settings
        # Below that it takes no messages: `doctor` says so from there on.
        assert f"{{disk_free_limit, {disk.FULL}}}" in settings


def test_the_cookie_is_made_once(tmp_path: Path) -> None:
    (task,) = RABBITMQ.tasks(context(tmp_path))
    assert [change.what for change in task.ensure()] == ["make the broker's cookie"]
    cookie = tmp_path / "data" / "rabbitmq" / ".erlang.cookie"
    cookie.parent.mkdir(parents=True)
    cookie.write_text("x")
    assert list(task.ensure()) == []


@installed
def test_the_boot_file_is_made_when_it_must(tmp_path: Path) -> None:
    make = tmp_path / "boot.escript"
    make.write_text(boot.MAKE)
    script = tmp_path / "boot.sh"
    script.write_text(boot.renew(make, tmp_path))
    made = tmp_path / "rabbit.boot"

    def run() -> int:
        subprocess.run(["/bin/sh", str(script)], check=True, timeout=60)
        return made.stat().st_mtime_ns

    first = run()
    assert sorted(os.listdir(tmp_path)) == ["boot.escript", "boot.sh", "made-for", "rabbit.boot"]
    assert run() == first
    (tmp_path / "made-for").write_text("another Erlang\n")
    assert run() != first


@installed
def test_the_boot_file_has_the_broker_loaded_and_the_libraries_at_hand(tmp_path: Path) -> None:
    make = tmp_path / "boot.escript"
    make.write_text(boot.MAKE)
    (plugins,) = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/plugins")
    subprocess.run(["escript", str(make), str(plugins), str(tmp_path / "rabbit")], check=True)
    asked = (
        "Loaded = fun(M) -> code:is_loaded(M) =/= false end, "
        'io:format("~w", [{Loaded(rabbit), Loaded(mnesia), Loaded(xmerl), '
        "element(1, code:ensure_loaded(xmerl)), element(1, application:load(rabbit))}]), halt()."
    )
    done = subprocess.run(
        [
            *("erl", "-noinput", "-mode", "interactive"),
            *("-boot", str(tmp_path / "rabbit"), "-eval", asked),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    # the application is there already: load answers {error, {already_loaded, rabbit}}
    assert done.stdout == "{true,true,false,module,error}", done.stderr


MESS = """
Me = <<"test">>,
ok = rabbit_auth_backend_internal:add_user(<<"stranger">>, <<"x">>, Me),
_ = rabbit_vhost:add(<<"left">>, Me),
ok = rabbit_auth_backend_internal:set_permissions(
    <<"stranger">>, <<"left">>, <<".*">>, <<".*">>, <<".*">>, Me),
ok = rabbit_auth_backend_internal:set_permissions(
    <<"toy_guest">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, Me),
ok = rabbit_auth_backend_internal:set_topic_permissions(
    <<"toy_guest">>, <<"toy">>, <<"other">>, <<".*">>, <<".*">>, Me),
ok = rabbit_policy:set(<<"toy">>, <<"old">>, <<"^x">>, [{<<"expires">>, 1000}], 0,
                       <<"queues">>, Me),
Toy = rabbit_misc:r(<<"toy">>, exchange, <<"toy">>),
ok = rabbit_exchange:delete(Toy, false, Me),
_ = rabbit_exchange:declare(Toy, fanout, true, false, false, [], Me),
"""
TOLD = """
Of = fun(List, Keys) -> lists:sort(
    [[proplists:get_value(Key, Item) || Key <- Keys] || Item <- List]) end,
{ok, Out} = file:open("PLACE", [write]),
[io:format(Out, "~0p~n", [Each]) || Each <- [
    lists:sort(rabbit_vhost:list_names()),
    Of(rabbit_auth_backend_internal:list_users(), [user]),
    Of(rabbit_auth_backend_internal:list_permissions(), [user, vhost]),
    Of(rabbit_auth_backend_internal:list_topic_permissions(), [user, vhost, exchange]),
    Of(rabbit_policy:list(), [vhost, name]),
    lists:sort([
        {Name, proplists:get_value(type, Made), proplists:get_value(durable, Made)}
        || Made <- rabbit_exchange:info_all(<<"toy">>, [name, type, durable]),
           {resource, _, _, Name} <- [proplists:get_value(name, Made)],
           Name =/= <<>>, binary:match(Name, <<"amq.">>) =/= {0, 4}]),
    [{Key, Queue} || {binding, {resource, _, _, <<"for now">>}, Key, {resource, _, _, Queue}, _}
        <- rabbit_binding:list(<<"toy">>)]]],
ok = file:close(Out), init:stop().
"""


@installed
@needs_root
def test_the_broker_has_what_is_declared_and_nothing_else(tmp_path: Path) -> None:
    """A real one, in a network of its own, with rights in it that nobody declares any more."""
    ctx = context(tmp_path, RABBITMQ, Guests())
    process = lay_out(ctx)
    started = tmp_path / "etc" / "rabbitmq" / "started.eval"
    text, told = started.read_text(), tmp_path / "told"
    head, _, rest = text.partition(begin := "Vhosts = ")
    assert rest.rstrip().endswith("ok.")
    tail = rest.rstrip().removesuffix("ok.") + TOLD.replace("PLACE", str(told))
    started.write_text(head + MESS + begin + tail)
    with networks.alone():
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(process.prepare[0], check=True, timeout=60)
        done = subprocess.run(
            process.argv,
            env={**os.environ, **process.env},
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert told.exists(), done.stdout + done.stderr
    vhosts, users, rights, topics, policies, exchanges, bindings = told.read_text().splitlines()
    assert vhosts == '[<<"/">>,<<"toy">>]'
    assert users == '[[<<"openstack">>],[<<"toy">>],[<<"toy_guest">>]]'
    assert rights == (
        '[[<<"openstack">>,<<"/">>],[<<"toy">>,<<"toy">>],[<<"toy_guest">>,<<"toy">>]]'
    )
    assert topics == '[[<<"toy_guest">>,<<"toy">>,<<"toy">>]]'
    assert policies == '[[<<"/">>,<<"notifications">>],[<<"toy">>,<<"expiry">>]]'
    # Another of its name had taken its place: by the import alone it would stay.
    assert exchanges == (
        '[{<<"for now">>,topic,false},{<<"to all">>,fanout,false},{<<"toy">>,topic,true}]'
    )
    assert bindings == '[{<<"ours">>,<<"ours">>}]'


@needs_root
@pytest.mark.parametrize("address", ["", "127.0.0.1", "::"])
def test_another_broker_in_the_way_is_found(tmp_path: Path, address: str) -> None:
    """One that takes clients at its own loopback address only still meets others everywhere."""
    ctx = context(tmp_path, RABBITMQ)
    needs = Needs(ports=ports(ctx))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with networks.alone(), socket.socket(family) as other:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        other.bind((address, 25672))
        other.listen()
        found = look(Subject(ctx.cloud, Machine(machine()), needs), [check_ports])
    expected = [] if address == "127.0.0.1" else [f"port 25672 of {ctx.internal} is taken"]
    assert [finding.what for finding in found] == expected


def test_what_is_said_to_a_compute_service_waits_for_it(tmp_path: Path) -> None:
    """Its queues are there before it is, in a cloud of one machine too."""
    ctx = context(tmp_path, RABBITMQ, Nova())
    found = json.loads(content(ctx, RABBITMQ, "definitions.json"))
    names = [f"{topic}.{ctx.host.name}" for topic in ("compute", "compute-alt")]
    assert [queue["name"] for queue in found["queues"]] == names
    assert [(b["source"], b["routing_key"]) for b in found["bindings"]] == [
        ("nova", name) for name in names
    ]
    assert [(e["name"], e["type"]) for e in found["exchanges"]] == [("nova", "topic")]
    lean = context(tmp_path, RABBITMQ)
    assert json.loads(content(lean, RABBITMQ, "definitions.json"))["queues"] == []
