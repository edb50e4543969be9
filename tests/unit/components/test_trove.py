"""Trove's room: what it asks for, what guests are told, and who may what."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from keystoneauth1.exceptions import NotFound
from keystoneauth1.session import Session

from onestack.answers.registry import registry
from onestack.cloudapi.compute import Compute
from onestack.components import service_guests
from onestack.components.cinder import Cinder
from onestack.components.glance import Glance
from onestack.components.haproxy import Haproxy
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.openvswitch import Openvswitch
from onestack.components.rabbitmq import Rabbitmq
from onestack.components.swift import Swift
from onestack.components.trove import Trove, config, hops, keys, leftovers
from onestack.components.trove.datastores import DATASTORES
from onestack.components.trove.guest import RECIPE
from onestack.components.trove.inside.admission import Admission
from onestack.database.upstream_tables.trove import InstanceRow
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import TempestResources
from onestack.network.management import Management
from tests.unit.components.rooms import answered, content, context

OTHERS: tuple[Component, ...] = (Nova(), Neutron(), Glance(), Cinder(), Openvswitch(), Rabbitmq())


@pytest.fixture
def trove() -> Trove:
    return Trove()


def cloud(root: Path, trove: Trove, *more: Component, name: str = "a", **given: str) -> Context:
    return context(root, *OTHERS, *more, trove, name=name, CONFIG_TROVE_INSTALL="y", **given)


def problems(**given: str) -> list[str]:
    answers, wrong = answered(**given)
    return wrong or (list(Trove().validate(answers)) if answers is not None else [])


def option(text: str, name: str) -> str:
    return str(re.findall(rf"^{name} = (.*)$", text, re.MULTILINE)[0])


def test_it_is_asked_for(trove: Trove) -> None:
    assert not trove.enabled(registry().answers())
    assert trove.enabled(registry().answers({"CONFIG_TROVE_INSTALL": "y"}))


@pytest.mark.parametrize("service", ["NOVA", "NEUTRON", "GLANCE", "CINDER"])
def test_not_without_what_a_guest_is_made_of(service: str) -> None:
    wrong = problems(CONFIG_TROVE_INSTALL="y", **{f"CONFIG_{service}_INSTALL": "n"})
    assert any(f"CONFIG_{service}_INSTALL" in each for each in wrong)
    assert not problems(CONFIG_TROVE_INSTALL="y")
    # Backups are refused by the API then; databases are not.
    assert not problems(CONFIG_TROVE_INSTALL="y", CONFIG_SWIFT_INSTALL="n")


@pytest.mark.parametrize("name", ["trove", "trove_guest"])
def test_its_accounts_of_the_bus_are_nobody_elses(name: str) -> None:
    (problem,) = problems(CONFIG_TROVE_INSTALL="y", CONFIG_AMQP_AUTH_USER=name)
    assert f"CONFIG_AMQP_AUTH_USER={name}" in problem


def test_its_network_is_nobody_elses() -> None:
    same = {keys.SUBNET: "10.0.0.0/22", "CONFIG_PROVISION_DEMO": "y"}
    (problem,) = problems(CONFIG_TROVE_INSTALL="y", **same)
    assert keys.SUBNET in problem and "demo" in problem
    (problem,) = problems(CONFIG_TROVE_INSTALL="y", **{keys.SUBNET: "everything"})
    assert "IPv4 network" in problem


def test_packstacks_keys_are_taken() -> None:
    answers, wrong = answered(
        CONFIG_TROVE_INSTALL="y",
        CONFIG_TROVE_DB_PW="a",
        CONFIG_TROVE_KS_PW="b",
        CONFIG_TROVE_NOVA_USER="trove",
        CONFIG_TROVE_NOVA_TENANT="services",
        CONFIG_TROVE_NOVA_PW="c",
    )
    assert answers is not None and not wrong


def test_everything_is_below_the_clouds_root(tmp_path: Path, trove: Trove) -> None:
    ctx = cloud(tmp_path, trove)
    text = content(ctx, trove, "trove.conf")
    for path in re.findall(r"(?<![\w:/.])/[\w./-]+", text):
        if path.startswith(("/v3", "/v1", "/trove")) or path == f"/{config.VHOST}":
            continue
        assert path.startswith(str(tmp_path)), path
    own = next(p for p in trove.processes(ctx) if p.name == "trove")
    assert own.user == "onestack-a-trove" and not own.capabilities
    # What it was doing it goes on with at its start, and asks all of these.
    assert {"identity", "network", "compute", "block-storage"} <= set(own.needs)
    for target in own.sockets.values():
        assert target.startswith(f"tcp:{ctx.internal}:")


def test_no_key_is_upstreams_and_none_has_an_answer(tmp_path: Path, trove: Trove) -> None:
    """Upstream's three are printed in its source; what is encrypted with ours is there to stay."""
    text = content(cloud(tmp_path, trove), trove, "trove.conf")
    names = ("taskmanager_rpc_encr_key", "inst_rpc_key_encr_key", "module_aes_cbc_key")
    found = {option(text, name) for name in names}
    assert len(found) == 3 and all(len(key) >= 32 for key in found)
    given = {secret.name: secret.key for secret in keys.SECRETS}
    assert not any(given[name] for name in (keys.TASKS_KEY, keys.INSTANCES_KEY, keys.MODULES_KEY))


def test_guests_know_no_more_than_their_own_account(tmp_path: Path, trove: Trove) -> None:
    ctx = cloud(tmp_path, trove)
    agent = content(ctx, trove, "guestagent.conf")
    secrets = {secret.name for secret in keys.SECRETS} - {keys.GUESTS_BUS}
    assert ctx.secrets[keys.GUESTS_BUS] in agent
    for name in (*secrets, "rabbitmq"):
        assert ctx.secrets[name] not in agent, name
    here = config.management(ctx).address
    assert f"@{here}:{config.BUS_PORT}/{config.VHOST}" in option(agent, "transport_url")
    assert option(agent, "ssl") == "true"
    assert option(agent, "ssl_ca_file") == config.GUEST_AUTHORITY
    assert ctx.internal not in agent and ctx.public not in agent


def test_both_ends_make_the_same_queues(tmp_path: Path, trove: Trove) -> None:
    """A queue that is there with other arguments is refused by the broker."""
    ctx = cloud(tmp_path, trove)
    service, agent = (content(ctx, trove, name) for name in ("trove.conf", "guestagent.conf"))
    for name in ("rabbit_quorum_queue", "amqp_durable_queues", "control_exchange"):
        assert option(service, name) == option(agent, name)


def test_what_a_guest_may_on_the_bus() -> None:
    service, guest = config.accounts()
    assert service.vhost == guest.vhost == "trove"
    assert service.topics == ()
    (topic,) = guest.topics
    names = ("guestagent.1234", "trove-conductor", "trove-conductor.127.77.0.1", "taskmanager")
    may_send = [name for name in names if re.search(topic.write, name)]
    may_hear = [name for name in names if re.search(topic.read, name)]
    assert may_send == ["trove-conductor", "trove-conductor.127.77.0.1"]
    assert may_hear == ["guestagent.1234"]
    for pattern in (guest.configure, guest.read):
        assert re.search(pattern, "guestagent.1")
        for name in ("taskmanager", "trove-conductor", "amq.default", "reply_1", "nova"):
            assert not re.search(pattern, name), name
    assert not re.search(guest.write, "taskmanager")
    assert re.search(guest.write, "amq.default")


def test_the_exchange_is_the_brokers_and_no_guest_may_make_it(tmp_path: Path, trove: Trove) -> None:
    """Topics hold for a topic exchange only, and the service declares it as it is then."""
    ctx = cloud(tmp_path, trove)
    service = content(ctx, trove, "trove.conf")
    made = json.loads(content(ctx, Rabbitmq(), "definitions.json"))
    (exchange,) = (each for each in made["exchanges"] if each["vhost"] == "trove")
    assert exchange["name"] == option(service, "control_exchange")
    assert exchange["type"] == "topic" and not exchange["auto_delete"]
    assert exchange["durable"] is (option(service, "amqp_durable_queues") == "true")
    assert "amqp_auto_delete" not in service
    _, guest = config.accounts()
    (topic,) = guest.topics
    assert topic.exchange == exchange["name"]
    assert not re.search(guest.configure, exchange["name"])
    assert re.search(guest.read, exchange["name"]) and re.search(guest.write, exchange["name"])


def test_guests_reach_the_bus_and_objects_only(tmp_path: Path, trove: Trove) -> None:
    haproxy = Haproxy()
    ctx = cloud(tmp_path, trove, haproxy, Swift(), CONFIG_SWIFT_INSTALL="y")
    fronts = {front.name: front for front in trove.frontends(ctx)}
    network = config.management(ctx)
    assert fronts["trove-bus"].tcp and fronts["trove-bus"].address == network.address
    assert not fronts["trove-objects"].tcp
    assert fronts["trove-objects"].address == network.address
    assert [port.number for port in network.reached] == [5671, 8080]
    assert not network.answered
    for name in ("trove.conf", "guestagent.conf"):
        text = content(ctx, trove, name)
        assert option(text, "swift_url") == f"https://{network.address}:8080/v1/AUTH_"


def test_without_an_object_store_nobody_has_a_place_for_backups(
    tmp_path: Path, trove: Trove
) -> None:
    ctx = cloud(tmp_path, trove)
    assert "swift_url" not in content(ctx, trove, "trove.conf")
    assert [front.name for front in trove.frontends(ctx)] == ["trove", "trove-bus"]
    assert [port.number for port in config.management(ctx).reached] == [5671]


def test_user_data_has_the_authority() -> None:
    text = config.cloudinit("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    head, _, body = text.partition("\n")
    assert head == "#cloud-config"
    (file,) = json.loads(body)["write_files"]
    assert file["path"] == "/etc/trove/ca.pem" and "BEGIN CERTIFICATE" in file["content"]


def test_readers_read(tmp_path: Path, trove: Trove) -> None:
    text = content(cloud(tmp_path, trove), trove, "policy.yaml")
    rules = dict(re.findall(r'^"([^"]+)": "([^"]+)"$', text, re.MULTILINE))
    assert len(rules) == len(text.splitlines())
    assert "role:member" in rules["admin_or_owner"]
    reading = {name for name, rule in rules.items() if "role:reader" in rule}
    assert reading == set(config.READING)
    assert not [name for name in reading if re.search(":(create|delete|update|edit)", name)]


@pytest.mark.parametrize(
    ("path", "body", "refused"),
    [
        ("/v1.0/p/instances", {"instance": {"name": "a"}}, True),
        ("/v1.0/p/instances", {"instance": {"name": "a", "nics": []}}, True),
        ("/v1.0/p/instances", {"instance": {"name": "a", "nics": [{"network_id": "n"}]}}, False),
        ("/v1.0/p/instances", {"something": 1}, False),
        ("/v1.0/p/instances", ["x"], False),
        ("/v1.0/p/instances/i/action", {"restart": {}}, False),
        ("/v1.0/p/backups", {"backup": {"instance": "i"}}, False),
    ],
)
def test_an_instance_without_a_network_is_refused(path: str, body: object, refused: bool) -> None:
    """Nobody could reach it; the request goes on as it came otherwise."""
    text = json.dumps(body).encode()
    came: list[bytes] = []
    said: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        came.append(environ["wsgi.input"].read())
        return [b""]

    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(text)),
        "HTTP_X_AUTH_TOKEN": "t",
        "wsgi.input": io.BytesIO(text),
    }
    answer = b"".join(Admission(application)(environ, lambda status, _: said.append(status)))
    assert came == ([] if refused else [text])
    if refused:
        assert (
            said == ["400 Bad Request"] and "--nic" in json.loads(answer)["badRequest"]["message"]
        )
    # Who shows no token is not read.
    came.clear()
    environ |= {"HTTP_X_AUTH_TOKEN": "", "wsgi.input": io.BytesIO(text)}
    Admission(application)(environ, lambda status, _: said.append(status))
    assert came == [text]


def test_what_is_left_when_it_goes_for_good(
    tmp_path: Path, trove: Trove, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what has trove's names, in the services' project; backups stay their owners'."""
    ctx = cloud(tmp_path, trove)
    there: dict[str, list[dict[str, str]]] = {
        "port": [{"id": "p1", "name": "trove-1"}, {"id": "p2", "name": "lb-port"}],
        "floatingip": [{"id": "f1", "floating_ip_address": "192.0.2.7"}],
        "security-group": [{"id": "g1", "name": "trove_sg-1"}, {"id": "g2", "name": "default"}],
        "volumes": [{"id": "v1", "name": "trove-1"}, {"id": "v2", "name": "mine"}],
    }
    groups = [
        {"id": "l1", "name": "locality_1", "project_id": "service"},
        {"id": "l2", "name": "mine", "project_id": "service"},
        {"id": "l3", "name": "locality_of_somebody", "project_id": "theirs"},
    ]
    gone: list[str] = []

    def listed(kind: str, **query: str) -> list[dict[str, str]]:
        assert query.get("project_id") == "service" or query.get("port_id") == "p1"
        return there[kind]

    def delete_volume(url: str, params: dict[str, str], headers: dict[str, str]) -> None:
        """Whatever state it is in, and with its snapshots: cinder heeds neither word alone."""
        assert params == {"cascade": "true", "force": "true"}
        assert headers == {"OpenStack-API-Version": "volume 3.23"}
        gone.append(url.rpartition("/")[2])
        raise NotFound("somebody was faster")

    api = SimpleNamespace(all=listed, delete=lambda kind, identity: gone.append(identity))
    session = SimpleNamespace(
        get=lambda url, params: SimpleNamespace(json=lambda: {"volumes": there["volumes"]}),
        delete=delete_volume,
    )
    answers = {"flavors": [{"id": "s", "name": "db.small"}, {"id": "m", "name": "mine"}]}
    answers["os-server-groups"] = groups

    def asked(url: str, params: dict[str, str], headers: object = None) -> SimpleNamespace:
        """As nova: without a version it does not say whose a group is."""
        kind = url.rpartition("/")[2]
        if kind == "os-server-groups":
            assert params == {"all_projects": "True"}
            assert headers == {"OpenStack-API-Version": "compute 2.13"}
        return SimpleNamespace(
            json=lambda: {kind.removeprefix("os-").replace("-", "_"): answers[kind]}
        )

    nova = SimpleNamespace(get=asked, delete=lambda url: gone.append(url.rpartition("/")[2]))
    compute = Compute(cast(Session, nova), "http://nova")
    for name, stand_in in {
        "neutron_of": lambda _: api,
        "compute_of": lambda _: compute,
        "admin_session": lambda _: session,
        "service_project": lambda _: "service",
        "remove_all": lambda _, recipe: iter([Change(recipe.name, lambda: gone.append("image"))]),
    }.items():
        monkeypatch.setattr(leftovers, name, stand_in)
    servers = Change("servers", lambda: gone.append("servers and their network"))
    monkeypatch.setattr(Management, "purge", lambda _: iter([servers]))
    for change in leftovers.remove(ctx):
        change.do()
    assert gone == ["servers and their network", "f1", "p1", "g1", "v1", "image", "l1", "s"]


def row(status: str, age: int = 2000, silent: int = 2000, **more: str) -> InstanceRow:
    found = {"server": "nova", "error": "", **more}
    return InstanceRow("1", "shop", found["server"], found["error"], status, age, silent)


GIVEN_UP = row("guestagent error", silent=30, error="Timeout error")
"""Trove's own word is young, whatever the guest's is."""


@pytest.mark.parametrize(
    ("asked", "server", "port", "bus", "says"),
    [
        (row("healthy", silent=30), {}, {}, None, None),
        (row("new", age=300), {}, {}, None, None),
        (row("building", silent=300), {}, {}, None, None),
        (row("new", server=""), None, None, None, "never heard of; nova was not asked"),
        (row("new"), None, None, None, "is gone"),
        (row("x", error="Build error"), {"fault": {"message": "No valid host"}}, {}, None, "host"),
        (
            GIVEN_UP,
            {"status": "SHUTOFF"},
            {},
            None,
            "is in error: Timeout error; its server nova is SHUT",
        ),
        (GIVEN_UP, {"status": "ACTIVE"}, {"status": "ACTIVE"}, None, "agent does not speak"),
        (GIVEN_UP, None, None, None, "it could not be made, or changed"),
        (row("healthy", silent=30, error="Error"), {"status": "ACTIVE"}, {}, None, "could not be"),
        (row("healthy"), {"status": "SHUTOFF"}, {}, None, "not for 2000 s heard of"),
        (row("healthy"), {"status": "ACTIVE"}, None, None, "no port in the network"),
        (row("healthy"), {"status": "ACTIVE"}, {"status": "DOWN"}, None, "switch has not"),
        (row("healthy"), {"status": "ACTIVE"}, {"status": "ACTIVE"}, OSError("no route"), "no rou"),
        (row("healthy"), {"status": "ACTIVE"}, {"status": "ACTIVE"}, None, "agent does not speak"),
    ],
)
def test_at_which_hop_it_ends(
    tmp_path: Path,
    trove: Trove,
    monkeypatch: pytest.MonkeyPatch,
    asked: InstanceRow,
    server: dict[str, Any] | None,
    port: dict[str, Any] | None,
    bus: OSError | None,
    says: str | None,
) -> None:
    ctx = cloud(tmp_path, trove)
    found = {"id": "p", **port} if port is not None else None

    def reached(*_: Any) -> Any:
        if bus:
            raise bus
        return contextlib.nullcontext()

    def nova(_: Context) -> Any:
        return SimpleNamespace(server=lambda _: server)

    monkeypatch.setattr(service_guests, "compute_of", nova)
    tls = SimpleNamespace(wrap_socket=lambda *_, **__: contextlib.nullcontext())
    for name, stand_in in {
        "server_of": lambda _: None,
        "compute_of": nova,
        "neutron_of": lambda _: SimpleNamespace(find=lambda *_, **__: found),
        "netns": SimpleNamespace(inside=lambda _: contextlib.nullcontext()),
        "socket": SimpleNamespace(create_connection=reached),
    }.items():
        monkeypatch.setattr(hops, name, stand_in)
    monkeypatch.setattr("onestack.database.upstream_tables.trove.instances", lambda _: [asked])
    monkeypatch.setattr("ssl.create_default_context", lambda **_: tls)
    monkeypatch.setattr(Management, "known", lambda _: SimpleNamespace(network="n"))
    text = "; ".join(f"{f.what}; {f.why}" for f in hops.examine(ctx))
    assert (says in text) if says else not text


def test_two_clouds_share_nothing(tmp_path: Path, trove: Trove) -> None:
    one, two = (cloud(tmp_path / name, trove, name=name) for name in ("a", "b"))
    assert config.management(one).device != config.management(two).device
    texts = [content(ctx, trove, "trove.conf") for ctx in (one, two)]
    assert option(texts[0], "inst_rpc_key_encr_key") != option(texts[1], "inst_rpc_key_encr_key")
    assert str(tmp_path / "a") not in texts[1]


def test_each_database_has_one_version() -> None:
    assert {(d.name, d.version, d.manager) for d in DATASTORES} == {
        ("mariadb", "10.11", "mariadb"),
        ("postgresql", "15", "postgresql"),
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "Service status: ERROR, service error description: guestagent error",
            "onestack doctor",
        ),
        ("UnixHTTPConnectionPool(host='localhost', port=None): Read timed out.", "too slow"),
        ("Quota exceeded for resources: ['instances'].", "quota show"),
        ("Flavor's disk is too small for requested image.", "db.small"),
        ("BUILDING of the instance 4 was interrupted: it is in ERROR, and can be deleted", "ERROR"),
        ("the guest 1234-ab speaks of another", "refused"),
        ("Swift is disabled for tenant 7.", "CONFIG_SWIFT_INSTALL=y"),
        ("Access denied for user 'trove'@'localhost'", "run up again"),
        ("something else", None),
    ],
)
def test_explanations(tmp_path: Path, trove: Trove, line: str, says: str | None) -> None:
    text = cloud(tmp_path, trove).model.likely("trove", line)
    assert (says in text) if says and text else text is None and says is None


def test_its_tests_make_guests_anew_from_its_own_image(tmp_path: Path, trove: Trove) -> None:
    """Upstream's tests of that are left out without one."""
    ctx = cloud(tmp_path, trove)

    def told(**images: str) -> object:
        found = TempestResources("i", "f", "g", "small", "big", "p", "public", guest_images=images)
        return trove.tempest(ctx, found)["database"]["rebuild_image_id"]

    assert told(**{RECIPE.name: "made", "another": "other"}) == "made"
    assert told() == ""
