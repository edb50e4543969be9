"""Sahara's room: what it asks for, what it is told, who may what, and what stays behind."""

from __future__ import annotations

import dataclasses
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onestack.answers.registry import registry
from onestack.cloudapi.image import Images
from onestack.cloudapi.service_images import KIND
from onestack.components import service_guests
from onestack.components.clients import Clients, wrapper
from onestack.components.glance import Glance
from onestack.components.heat import Heat
from onestack.components.keystone import Keystone
from onestack.components.neutron import Neutron
from onestack.components.nova import Nova
from onestack.components.provision import Provision
from onestack.components.rabbitmq import Rabbitmq
from onestack.components.sahara import Sahara, config, hops, keys, leftovers, offered
from onestack.components.sahara.guest import PLUGIN, RECIPE, VERSION
from onestack.components.swift import Swift
from onestack.database.upstream_tables import heat
from onestack.database.upstream_tables import sahara as tables
from onestack.database.upstream_tables.sahara import ClusterRow, MachineRow
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.network.bridges import Bridges
from tests.support import machines
from tests.unit.components.rooms import answered, content, context, context_on

OTHERS: tuple[Component, ...] = (Keystone(), Glance(), Nova(), Neutron(), Heat(), Rabbitmq())


@pytest.fixture
def sahara() -> Sahara:
    return Sahara()


def cloud(root: Path, sahara: Sahara, *more: Component, **given: str) -> Context:
    return context(root, *OTHERS, *more, sahara, name="a", CONFIG_SAHARA_INSTALL="y", **given)


def option(text: str, name: str) -> str:
    return str(re.findall(rf"^{name} = (.*)$", text, re.MULTILINE)[0])


# -- answers -----------------------------------------------------------------------


def test_it_is_asked_for_and_brings_heat_along(sahara: Sahara) -> None:
    assert not sahara.enabled(registry().answers())
    answers = registry().answers({"CONFIG_SAHARA_INSTALL": "y", "CONFIG_HEAT_INSTALL": "n"})
    assert sahara.enabled(answers) and Heat().enabled(answers)
    assert any("CONFIG_HEAT_INSTALL=n" in said for said in sahara.remarks(answers))
    assert not list(sahara.remarks(registry().answers({"CONFIG_SAHARA_INSTALL": "y"})))
    assert not Heat().enabled(registry().answers({"CONFIG_SAHARA_INSTALL": "n"}))


@pytest.mark.parametrize("service", ["NOVA", "NEUTRON", "GLANCE"])
def test_not_without_what_a_cluster_is_made_of(sahara: Sahara, service: str) -> None:
    off = {f"CONFIG_{service}_INSTALL": "n"}
    answers = registry().answers({"CONFIG_SAHARA_INSTALL": "y", **off})
    assert any(f"CONFIG_{service}_INSTALL" in said for said in sahara.validate(answers))
    assert not list(sahara.validate(registry().answers({"CONFIG_SAHARA_INSTALL": "y"})))
    assert not list(sahara.validate(registry().answers(off)))


def test_packstacks_keys_are_taken() -> None:
    answers, wrong = answered(
        CONFIG_SAHARA_INSTALL="y", CONFIG_SAHARA_DB_PW="a", CONFIG_SAHARA_KS_PW="b"
    )
    assert answers is not None and not wrong


def test_the_way_to_the_machines_is_asked_for(tmp_path: Path, sahara: Sahara) -> None:
    (found,) = sahara.preflight_checks(cloud(tmp_path, sahara))
    assert "CONFIG_ONESTACK_EXTERNAL_ADDRESS" in found.cure
    own = {"CONFIG_ONESTACK_EXTERNAL_ADDRESS": "10.50.14.1/24"}
    assert not list(sahara.preflight_checks(cloud(tmp_path, sahara, **own)))


@pytest.mark.parametrize("layout", ["openvswitch", "ovn"])
def test_a_way_to_the_machines_is_seen(tmp_path: Path, sahara: Sahara, layout: str) -> None:
    """By the guide's step 10 the machine has one, in the notes' way or by `nic attach`."""
    short = {"openvswitch": "OVS", "ovn": "OVN"}[layout]
    bridge = cloud(tmp_path, sahara).once(Bridges).external
    there = ("10.50.14.50/24",)

    def warned(devices: dict[str, tuple[str, ...]], nic: str = "", **given: str) -> bool:
        given |= {"CONFIG_NEUTRON_L2_AGENT": layout, "CONFIG_SAHARA_INSTALL": "y"}
        if nic:
            given[f"CONFIG_NEUTRON_{short}_BRIDGE_IFACES"] = f"br-ex:{nic}"
        host = dataclasses.replace(machines.machine(), cloud_devices=devices)
        ctx = context_on(host, tmp_path, *OTHERS, sahara, name="a", **given)
        return bool(list(sahara.preflight_checks(ctx)))

    assert not warned({bridge: there, "eno1": ()})
    # Before it is attached, and after.
    assert not warned({"eno1": there}, "eno1")
    attached = {"eno1": (), "br-eno1": there, bridge: ()}
    assert not warned(attached, "eno1")
    by_subnet = {"CONFIG_USE_SUBNETS": "y"}
    assert not warned({"eno1": (), "br-eno1": there}, "10.50.14.0/24", **by_subnet)
    # Attached by another cloud, or a NIC that is the cloud's alone.
    assert warned(attached)
    assert warned({"eno1": (), bridge: (), "eno2": there}, "eno1")
    # An external network on a provider's: there is no external bridge.
    only = {"CONFIG_NEUTRON_L3_EXT_BRIDGE": "provider"}
    only[f"CONFIG_NEUTRON_{short}_BRIDGE_MAPPINGS"] = "extnet:br-ex"
    assert not warned(attached, "eno1", **only)
    assert warned(attached, **only)


# -- what it is told ---------------------------------------------------------------


def test_it_is_alone_and_nobody(tmp_path: Path, sahara: Sahara) -> None:
    ctx = cloud(tmp_path, sahara)
    (own,) = sahara.processes(ctx)
    assert own.environment == "sahara" and own.user == "onestack-a-sahara"
    assert not own.capabilities and not own.groups
    for target in own.sockets.values():
        assert target.startswith(f"tcp:{ctx.internal}:")
    modes = {place.path: place.mode for place in sahara.directories(ctx)}
    # There each cluster's key is made.
    assert modes[Path(own.env["TMPDIR"])] == 0o700
    assert not sahara.privsep(ctx) and not sahara.root_commands(ctx)
    (database,) = sahara.databases(ctx)
    assert database.environment == "sahara"


def test_everything_is_below_the_clouds_root(tmp_path: Path, sahara: Sahara) -> None:
    text = content(cloud(tmp_path, sahara, Swift()), sahara, "sahara.conf")
    for path in re.findall(r"(?<![\w:/.])/[\w./-]+", text):
        if not path.startswith(("/v3", "/v1", "/sahara")):
            assert path.startswith(str(tmp_path)), path


def test_data_lies_only_where_there_is_a_place(tmp_path: Path, sahara: Sahara) -> None:
    without = content(cloud(tmp_path, sahara), sahara, "sahara.conf")
    assert option(without, "data_source_types") == "hdfs,maprfs"
    assert option(without, "job_binary_types") == "internal-db"
    assert "public_object_store_ca_file" not in without
    # Trusts are made at keystone's public endpoint.
    assert re.search(r"^\[keystone\]\nca_file = /", without, re.MULTILINE)
    stored = content(cloud(tmp_path, sahara, Swift()), sahara, "sahara.conf")
    assert option(stored, "data_source_types") == "swift,hdfs,maprfs"
    assert "swift" in option(stored, "job_binary_types")
    # Of these the user would say where they are.
    for text in (without, stored):
        assert "s3" not in text and "manila" not in text


def test_fake_is_for_tests(tmp_path: Path, sahara: Sahara) -> None:
    named = option(content(cloud(tmp_path, sahara), sahara, "sahara.conf"), "plugins")
    assert named.split(",") == ["spark3", "spark", "vanilla", "storm", "ambari", "cdh", "mapr"]
    tested = cloud(tmp_path, sahara, **{keys.FAKE: "y"})
    assert "fake" in option(content(tested, sahara, "sahara.conf"), "plugins").split(",")


def test_nobody_may_write_who_may_only_read() -> None:
    assert not set(config.READING) & set(config.WRITING)
    for name in config.READING:
        assert not re.search(r"create|delete|modify|update|scale|register|execute|cancel", name)
        assert f'"data-processing:{name}": "role:admin or role:reader"' in config.policy()
    for name in config.WRITING:
        assert f'"data-processing:{name}": "role:admin or role:member"' in config.policy()


def test_an_image_costs_nothing_unless_it_is_asked_for(tmp_path: Path, sahara: Sahara) -> None:
    ctx = cloud(tmp_path, sahara)
    assert [task.name for task in sahara.tasks(ctx)] == ["domain"]
    assert not list(sahara.downloads(ctx))
    whole = cloud(tmp_path, sahara, Provision(), **{keys.IMAGE: "y"})
    names = [task.name for task in sahara.tasks(whole)]
    assert names == ["domain", "image", "flavor", "templates"]
    assert [task.name for task in sahara.downloads(whole)] == ["guest"]


def test_an_image_is_known_by_its_properties() -> None:
    assert offered.PROPERTIES[f"_sahara_tag_{PLUGIN}"] == "True"
    assert offered.PROPERTIES[f"_sahara_tag_{VERSION}"] == "True"
    assert PLUGIN in config.PLUGINS
    # Without a configuration drive the guest is told nothing, not even who may log in.
    assert offered.PROPERTIES["img_config_drive"] == "mandatory"


def test_what_a_member_made_is_not_offered_to_all(
    tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any member may make a template that all see, by any name."""
    theirs = {"id": "9", "tenant_id": "of-a-member"}
    ours = {"id": "1", "tenant_id": "p"}
    names = (offered.MASTER, offered.WORKER)
    pages = {
        "node-group-templates": {
            "node_group_templates": [{**who, "name": n} for who in (ours, theirs) for n in names]
        },
        "cluster-templates": {"cluster_templates": [{**theirs, "name": offered.CLUSTER}]},
    }
    session, made = Session(**pages), list[dict[str, Any]]()
    monkeypatch.setattr(offered, "admin_session", lambda ctx: session)
    monkeypatch.setattr(session, "post", lambda url, json: made.append(json), raising=False)
    net = [{"name": "public", "id": "n"}]
    api = SimpleNamespace(all=lambda kind, **query: net)
    monkeypatch.setattr(offered, "neutron_of", lambda ctx: api)
    for change in offered.ensure_templates(cloud(tmp_path, sahara)):
        change.do()
    (template,) = made
    assert template["name"] == offered.CLUSTER and template["is_public"]
    assert {group["node_group_template_id"] for group in template["node_groups"]} == {"1"}


# -- the client --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "which"),
    [
        ("dataprocessing plugin list", "sahara"),
        ("--os-cloud a --debug dataprocessing cluster show x", "sahara"),
        ("--os-cloud=a -q dataprocessing plugin list", "sahara"),
        ("help dataprocessing plugin list", "sahara"),
        ("server create dataprocessing", "clients"),
        ("--os-project-name dataprocessing server list", "clients"),
        ("", "clients"),
        ("--version", "clients"),
    ],
)
def test_its_commands_go_to_the_client_of_its_day(
    tmp_path: Path, sahara: Sahara, words: str, which: str
) -> None:
    ctx = cloud(tmp_path, sahara, Clients())
    for name in ("clients", "sahara"):
        program = ctx.release.environment(name).command("openstack")
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\necho {name} "${{OS_VOLUME_API_VERSION-}}" "$@"\n')
        program.chmod(0o755)
    script = tmp_path / "openstack"
    script.write_text(wrapper(ctx, "openstack"))
    ran = subprocess.run(
        ["sh", script, *words.split()],
        env={"PATH": "/usr/bin:/bin", "OS_VOLUME_API_VERSION": "3.70"},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    version = "3.70" if which == "clients" else ""
    assert ran.stdout == " ".join((which, version, *words.split())) + "\n"


def test_where_it_is_off_the_client_is_the_one_of_all(tmp_path: Path) -> None:
    ctx = context(tmp_path, *OTHERS, Clients())
    assert "dataprocessing" not in wrapper(ctx, "openstack")
    assert "dataprocessing" not in wrapper(ctx, "nova")


# -- what stays behind -------------------------------------------------------------


class Session:
    """Answers with ``pages`` by their URL's last word, and keeps what is asked."""

    def __init__(self, **pages: Any) -> None:
        self.pages, self.asked = pages, list[tuple[str, str]]()

    def get_project_id(self) -> str:
        return "p"

    def get(self, url: str, **_: Any) -> Any:
        return SimpleNamespace(json=lambda: self.pages[url.rpartition("/")[2]])

    def delete(self, url: str, **_: Any) -> None:
        self.asked.append(("DELETE", url))

    def patch(self, url: str, data: str, **_: Any) -> None:
        self.asked.append(("PATCH", f"{url} {data}"))


def test_clusters_go_with_their_stacks(
    tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, stacks = Session(), [heat.StackRow("1", "c-1", "CREATE COMPLETE")]
    monkeypatch.setattr(leftovers, "admin_session", lambda ctx: session)
    monkeypatch.setattr(leftovers, "server_of", lambda ctx: None)
    monkeypatch.setattr(heat, "tagged", lambda server, tag: stacks[len(session.asked) :])
    (change,) = leftovers._stacks(cloud(tmp_path, sahara))
    assert "1 clusters" in change.what
    change.do()
    (asked,) = session.asked
    assert asked[1].endswith("/v1/p/stacks/c-1/1")
    assert not list(leftovers._stacks(cloud(tmp_path, sahara)))


def test_servers_are_gone_before_their_volumes_go(
    tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cinder removes none that a server has."""
    there = ["s1", "s1", "s1", "s2"]
    removed: list[str] = []

    def server(identity: str) -> dict[str, str] | None:
        if identity not in there:
            return None
        if identity in removed:
            there.remove(identity)
        return {"id": identity}

    compute = SimpleNamespace(server=server, remove_server=removed.append)
    monkeypatch.setattr(leftovers, "compute_of", lambda ctx: compute)
    (change,) = leftovers._servers(cloud(tmp_path, sahara), {"s1", "s2", "s3"})
    change.do()
    assert removed == ["s1", "s2"] and there == []


def test_images_of_people_stay_without_the_registration(
    tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own goes whole, of which a dry run says so once; another's only says that it is ours."""
    registered = {"_sahara_tag_spark": "True", "_sahara_username": "u"}
    ours = {"id": "3", "name": "guest", KIND: RECIPE.name, **registered}
    listed = [
        {"id": "1", "name": "mine", "owner": "p", **registered},
        {"id": "2", "name": "other", "owner": "p", "os_type": "linux"},
        {**ours, "owner": "service"},
        {**ours, "id": "4", "owner": "p"},
    ]
    session = Session(images={"images": listed})
    images = Images(cast(Any, session), "http://x/v2/images")
    monkeypatch.setattr(leftovers, "images_of", lambda ctx: images)
    monkeypatch.setattr(leftovers, "service_project", lambda ctx: "service")
    for change in leftovers._registrations(cloud(tmp_path, sahara)):
        change.do()
    assert [said.partition(" ")[0][-1] for _, said in session.asked] == ["1", "4"]
    for method, said in session.asked:
        assert method == "PATCH" and said.count('"remove"') == 2 and "/_sahara_username" in said


# -- where it ends -----------------------------------------------------------------


UP = {"id": "p", "status": "ACTIVE"}
WITH_FLOATING_IP = MachineRow(
    *("c-m-0", "s", "127.0.0.1", "10.0.0.2", "net"),
    is_gateway=False,
    is_behind=False,
    has_come=False,
)
WITHOUT = dataclasses.replace(WITH_FLOATING_IP, inner="127.0.0.1", pool="")
GATEWAY = dataclasses.replace(WITH_FLOATING_IP, name="c-door-0", is_gateway=True, has_come=True)
BEHIND = dataclasses.replace(WITHOUT, address="10.0.0.3", inner="10.0.0.3", is_behind=True)


def said_of(
    ctx: Context,
    monkeypatch: pytest.MonkeyPatch,
    row: ClusterRow,
    *machines: MachineRow,
    port: dict[str, str] | None = UP,
) -> list[Any]:
    monkeypatch.setattr(hops, "server_of", lambda ctx: None)
    monkeypatch.setattr(tables, "clusters", lambda server: [row])
    monkeypatch.setattr(tables, "machines", lambda server, cluster: list(machines))
    monkeypatch.setattr(service_guests, "no_server", lambda *_, **__: None)
    api = SimpleNamespace(find=lambda kind, **query: port)
    monkeypatch.setattr(hops, "neutron_of", lambda ctx: api)
    return list(hops.examine(ctx))


@pytest.fixture
def waiting(tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said of a cluster that waits for such machines."""
    ctx = cloud(tmp_path, sahara)

    def told(*machines: MachineRow, silent: int = 1000, **more: Any) -> list[Any]:
        row = ClusterRow("1", "c", "Waiting", "", silent, "p")
        return said_of(ctx, monkeypatch, row, *machines, **more)

    return told


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh server at this machine's own address, which is all that is known of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(hops, "SSH", listening.getsockname()[1])
        yield


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        monkeypatch.setattr(hops, "SSH", one.getsockname()[1])
        yield


def test_what_nova_and_neutron_say_comes_first(waiting: Any) -> None:
    assert waiting(WITH_FLOATING_IP, silent=10) == []
    assert "no port" in waiting(WITH_FLOATING_IP, port=None)[0].why
    for machine in (WITH_FLOATING_IP, GATEWAY, BEHIND):
        lost = dataclasses.replace(machine, has_come=False)
        assert "DOWN" in waiting(lost, port={"id": "p", "status": "DOWN"})[0].why
        unseen = dataclasses.replace(lost, address="", inner="")
        assert "sahara has seen no address" in waiting(unseen)[0].why


def test_by_its_floating_ip(waiting: Any, at: None) -> None:
    (found,) = waiting(WITH_FLOATING_IP)
    assert "answers by ssh at 127.0.0.1, and does not let sahara in" in found.why
    assert "_sahara_username" in found.cure
    # Of those that have come it does not wait for any.
    assert waiting(dataclasses.replace(WITH_FLOATING_IP, has_come=True)) == []


def test_at_a_floating_ip_that_does_not_answer(waiting: Any, nobody: None) -> None:
    (found,) = waiting(WITH_FLOATING_IP)
    assert "not reached by ssh at 127.0.0.1 (" in found.why
    for word in ("console log show s", "CONFIG_ONESTACK_EXTERNAL_ADDRESS", "nic attach"):
        assert word in found.cure
    assert "pool" not in found.why + found.cure


def test_without_a_floating_ip(waiting: Any, nobody: None) -> None:
    """Then upstream takes the address on the cluster's own network, and there is one always."""
    (found,) = waiting(WITHOUT)
    assert "at 127.0.0.1, its address on the cluster's own network" in found.why
    assert "no floating IPs" in found.why
    assert "--floating-ip-pool" in found.cure and "--proxy-gateway" in found.cure
    assert "EXTERNAL_ADDRESS" not in found.cure
    # A gateway that has none is helped by no other gateway.
    (found,) = waiting(dataclasses.replace(WITHOUT, is_gateway=True))
    assert "--floating-ip-pool" in found.cure and "--proxy-gateway" not in found.cure
    # With a pool it has one, and nova did not say so in time.
    (found,) = waiting(dataclasses.replace(WITHOUT, pool="net"))
    assert "though its node group has a pool" in found.why
    assert "server show s" in found.cure and "--floating-ip-pool" not in found.cure


def test_without_a_floating_ip_where_this_machine_has_a_way(waiting: Any, at: None) -> None:
    """As on a provider network."""
    (found,) = waiting(WITHOUT)
    assert "does not let sahara in" in found.why


def test_behind_a_gateway_that_has_come(waiting: Any, at: None) -> None:
    """What is beyond it cannot be tried: it is said what to look at, and not to ask for a pool."""
    (found,) = waiting(GATEWAY, BEHIND)
    assert found.what.endswith("machine c-m-0") and "through c-door-0" in found.why
    assert "cannot be tried" in found.why
    assert f"on c-door-0, nc -z 10.0.0.3 {hops.SSH}" in found.cure
    assert "pool" not in found.cure and "EXTERNAL_ADDRESS" not in found.cure


def test_behind_a_gateway_that_does_not_come(waiting: Any, nobody: None) -> None:
    """Also one that had come, and went."""
    first, other = waiting(dataclasses.replace(GATEWAY, has_come=False), BEHIND)
    assert first.what.endswith("c-door-0") and "not reached by ssh at 127.0.0.1" in first.why
    assert first.why in other.why and other.cure == first.cure
    (other,) = waiting(GATEWAY, BEHIND)
    assert "through c-door-0, and of that: it is not reached" in other.why


def test_behind_two_gateways_one_is_enough(waiting: Any, at: None) -> None:
    lost = dataclasses.replace(GATEWAY, name="c-door-1", address="", inner="", has_come=False)
    found = waiting(lost, GATEWAY, BEHIND)
    assert [each.what.split()[-1] for each in found] == ["c-door-1", "c-m-0"]
    assert "through c-door-0, which has come" in found[1].why


def test_behind_a_gateway_that_is_none(waiting: Any, nobody: None) -> None:
    (found,) = waiting(BEHIND)
    assert "has no machine" in found.why and "cluster scale" in found.cure


def test_a_cluster_in_error_says_why(
    tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ClusterRow("1", "c", "Error", "Quota exceeded for floating ips", 5, "p")
    (found,) = said_of(
        cloud(tmp_path, sahara), monkeypatch, row, WITH_FLOATING_IP, port={"status": ""}
    )
    assert found.why == "Quota exceeded for floating ips"
    # Sahara lets nobody else, be it the administrator.
    assert "cluster delete 1, by whoever is a member of its project p" in found.cure


def test_a_cluster_that_does_not_go_is_told_of(
    tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream gives up without a word where its stack cannot be deleted."""
    ctx = cloud(tmp_path, sahara)

    def told(silent: int) -> list[Any]:
        row = ClusterRow("1", "c", "Deleting", "", silent, "p")
        return said_of(ctx, monkeypatch, row, WITH_FLOATING_IP, port=None)

    assert told(5) == []
    (found,) = told(hops.PATIENCE + 1)
    assert "cluster delete 1" in found.cure


def test_a_cluster_that_could_not_be_scaled_says_why(
    tmp_path: Path, sahara: Sahara, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is Active as before: without a word of ours nobody knows."""
    ctx = cloud(tmp_path, sahara)

    def told(description: str) -> list[Any]:
        row = ClusterRow("1", "c", "Active", description, 5, "p")
        return said_of(ctx, monkeypatch, row, WITH_FLOATING_IP, port=None)

    (found,) = told("No valid host was found")
    assert "not changed" in found.what and found.why == "No valid host was found"
    assert told("") == []
