"""What servers need to move to another host: there where it was asked for, and nowhere else."""

from __future__ import annotations

import configparser
import dataclasses
import json
import re
from pathlib import Path

import pytest

from onestack.answers.registry import registry
from onestack.components import ALL, hosts
from onestack.components.libvirt import Libvirt
from onestack.components.nova.inside import callers
from onestack.deploy import roster
from onestack.diagnose import exposure
from onestack.kernel import proc
from onestack.kernel.sockets import Listener
from onestack.model.context import Context
from onestack.model.host import Network
from onestack.model.process import Process
from tests.support.joined import elsewhere, member
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

IDENTITY = "6a0f7d0e-9d0b-4d1c-8b61-0123456789ab"
MOVE = "CONFIG_ONESTACK_MOVE"


def cloud(root: Path, **given: str) -> Context:
    answers = {"CONFIG_NEUTRON_L2_AGENT": "ovn", **given}
    ctx = context(root, *ALL, **answers)
    ctx = dataclasses.replace(ctx, components=tuple(c for c in ALL if c.enabled(ctx.answers)))
    write_upstream(ctx)
    if ctx.offers("door"):
        return dataclasses.replace(ctx, members=(member(ctx, "web1", IDENTITY),))
    return ctx


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return cloud(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def staying(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return cloud(tmp_path_factory.mktemp("staying"), CONFIG_ONESTACK_JOIN="y")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return cloud(tmp_path_factory.mktemp("moving"), CONFIG_ONESTACK_JOIN="y", **{MOVE: "y"})


def there(controller: Context) -> Context:
    return elsewhere(controller, controller.members[0])


def text(ctx: Context, name: str) -> str:
    files = (f for d in ctx.model for f in d.files if ctx.here(f.roles or d.component.roles))
    return next((file.content for file in files if file.path.name == name), "")


def nova(ctx: Context, section: str) -> dict[str, str]:
    found = configparser.RawConfigParser(strict=False)
    found.read_string(text(ctx, "nova-compute.conf"))
    return dict(found[section])


def libvirtd(ctx: Context) -> Process:
    return next(p for p in ctx.model["libvirt"].processes if p.name == "libvirtd")


def test_one_machine_has_nothing_of_it(alone: Context) -> None:
    assert hosts.purposes(alone) == ()
    assert set(libvirtd(alone).sockets) == {"libvirtd.socket"}
    assert "/etc/pki" not in libvirtd(alone).mounts
    assert not re.search("tls|host_uuid", text(alone, "libvirtd.conf"))
    assert not re.search("tls|migration", text(alone, "qemu.conf"))
    assert nova(alone, "libvirt")["live_migration_scheme"] == "ssh"
    assert "auth_schemes" not in nova(alone, "vnc")
    assert text(alone, "policy.yaml") == ""


def test_where_they_stay_no_libvirtd_hears_another(staying: Context) -> None:
    for ctx in (staying, there(staying)):
        assert set(libvirtd(ctx).sockets) == {"libvirtd.socket"}
        assert not re.search("tls|host_uuid", text(ctx, "libvirtd.conf"))
        assert "default_tls" not in text(ctx, "qemu.conf")
        assert "live_migration_with_native_tls" not in nova(ctx, "libvirt")
    refused = json.loads(text(staying, "servers-stay.yaml").split("\n", 1)[1])
    assert set(refused.values()) == {"!"}
    assert nova(staying, "oslo_policy")["policy_file"].endswith("/nova/servers-stay.yaml")
    assert text(there(staying), "servers-stay.yaml") == ""


def test_each_host_is_reached_where_it_is(moving: Context) -> None:
    here, other = moving, there(moving)
    assert here.public != "192.0.2.7"
    for ctx, address in ((here, here.public), (other, "192.0.2.7")):
        assert libvirtd(ctx).sockets["libvirtd-tls.socket"] == f"tcp:{address}:16514"
        options = nova(ctx, "libvirt")
        assert options["live_migration_scheme"] == "tls"
        assert options["live_migration_with_native_tls"] == "true"
        assert options["live_migration_inbound_addr"] == address
        assert options["migration_inbound_addr"] == address
        assert f'migration_address = "{address}"' in text(ctx, "qemu.conf")
        assert "default_tls_x509_verify = 1" in text(ctx, "qemu.conf")
        assert libvirtd(ctx).mounts["/etc/pki"].startswith(str(ctx.cloud.root))
        assert any(path.endswith("cacrl.pem") for path in libvirtd(ctx).files)
        assert text(ctx, "servers-stay.yaml") == ""


def test_what_libvirtd_opens_is_no_exposure(
    moving: Context, staying: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who lists what the cloud is to listen on finds it."""
    monkeypatch.setattr(proc, "belonging", lambda root: {7})
    for ctx, declared in ((moving, True), (there(moving), True), (staying, False)):
        address = ctx.host.addresses[Network.GUESTS]
        wrong = list(exposure.judged(ctx, [Listener(address, 16514, 1, 7)]))
        assert bool(wrong) is not declared
        assert ((address, 16514) in [place[:2] for place in roster.ports(ctx)]) is declared


def test_no_two_hosts_are_one_to_libvirt(moving: Context) -> None:
    pattern = r'host_uuid = "([0-9a-f-]{36})"'
    found = [re.findall(pattern, text(c, "libvirtd.conf")) for c in (moving, there(moving))]
    assert found[1] == [IDENTITY]
    assert len(found[0]) == 1 and found[0] != found[1]


def test_consoles_are_looked_at_by_tls(staying: Context, alone: Context) -> None:
    proxy, own = nova(staying, "vnc"), nova(there(staying), "vnc")
    assert own["server_listen"] == own["server_proxyclient_address"] == "192.0.2.7"
    assert own["enabled"] == "true" and "vencrypt_client_key" not in own
    # nova's own order: what is first of it that QEMU offers
    assert proxy["auth_schemes"] == "vencrypt,none"
    assert proxy["vencrypt_client_key"].endswith("console.key")
    for ctx in (staying, there(staying)):
        qemu = text(ctx, "qemu.conf")
        assert "vnc_tls = 1" in qemu and "vnc_tls_x509_verify = 1" in qemu
    assert nova(alone, "vnc")["server_listen"] == alone.internal


def test_there_must_be_a_door() -> None:
    (wrong,) = Libvirt().validate(registry().answers({MOVE: "y"}))
    assert "needs CONFIG_ONESTACK_JOIN=y" in wrong


def test_a_compute_knows_its_own_callers(alone: Context, staying: Context) -> None:
    for ctx, known in (
        (staying, ["openstack"]),
        (there(staying), ["openstack", "onestack-host-web1"]),
    ):
        (spec,) = (p for p in ctx.model["nova"].processes if p.name == "nova-compute")
        assert json.loads(spec.arguments["trusted"]) == known
        admitted = callers.admits(known)
        assert admitted("openstack", "terminate_instance")
        assert admitted("onestack-host-web2", "pre_live_migration")
        for account in ("onestack-host-web2", "", "onestack-host-", "ceilometer"):
            assert not admitted(account, "terminate_instance")
        assert not admitted("", "pre_live_migration")
    (spec,) = (p for p in alone.model["nova"].processes if p.name == "nova-compute")
    assert "trusted" not in spec.arguments


def test_nova_takes_what_the_broker_has_made(alone: Context, staying: Context) -> None:
    """All of it, and of each kind: what one declared anew another could not."""
    defined = json.loads(text(staying, "definitions.json"))
    made = {
        kind: [one["name"] for one in defined[kind] if one["vhost"] == "/"]
        for kind in ("exchanges", "queues")
    }
    computes = (staying.host.name, *(member.name for member in staying.members))
    own = [f"{topic}.{name}" for name in computes for topic in ("compute", "compute-alt")]
    assert made["exchanges"] and made["queues"] == ["compute", "compute-alt", *own]
    # Its own it reads.
    made["queues"] = made["queues"][:2]
    assert all(not e["auto_delete"] and not e["durable"] for e in defined["exchanges"])
    for ctx, names in ((staying, {"nova-api", "nova-compute"}), (there(staying), {"nova-compute"})):
        told = {
            p.name: json.loads(p.arguments["standing"])
            for p in ctx.model["nova"].processes
            if "standing" in p.arguments and p.name in names
        }
        assert told == dict.fromkeys(names, made)
    assert not any("standing" in p.arguments for p in alone.model["nova"].processes)
    lone = json.loads(text(alone, "definitions.json"))
    assert [exchange["name"] for exchange in lone["exchanges"]] == ["nova"]
    assert [queue["name"] for queue in lone["queues"]] == own[:2]
