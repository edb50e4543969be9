"""Kinds of answer files that people have: made-up ones, each with the right outcome."""

from __future__ import annotations

import pytest

from onestack.answers.packstack_file import parse
from onestack.answers.registry import registry
from onestack.answers.validate import check
from onestack.cli.options import rules

OLD = """
CONFIG_CONTROLLER_HOST=192.0.2.10
CONFIG_COMPUTE_HOSTS=192.0.2.10
CONFIG_STORAGE_HOST=192.0.2.10
CONFIG_SWIFT_INSTALL=y
CONFIG_CEILOMETER_INSTALL=y
CONFIG_NAGIOS_INSTALL=y
CONFIG_AMQP_ENABLE_AUTH=n
CONFIG_KEYSTONE_TOKEN_FORMAT=UUID
CONFIG_NEUTRON_L2_AGENT=openvswitch
CONFIG_NEUTRON_ML2_TYPE_DRIVERS=vxlan
CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES=vxlan
CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS=openvswitch
CONFIG_NEUTRON_ML2_VLAN_RANGES=
"""
"""What most of the old files have in common."""

TAKEN = {
    "plugin": "CONFIG_NEUTRON_L2_PLUGIN=ml2\nCONFIG_NEUTRON_OVS_TENANT_NETWORK_TYPE=vlan\n"
    "CONFIG_NEUTRON_OVS_VLAN_RANGES=physnet1",
    "bridge": "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS=a:br-nodes,b:br-ex\n"
    "CONFIG_NEUTRON_OVS_BRIDGE_IFACES=br-em3:em3",
    "off": "CONFIG_HEAT_INSTALL=n\nCONFIG_HEAT_AUTH_ENC_KEY=secret",
    "events": "CONFIG_PANKO_INSTALL=y",
    "twin": "CONFIG_NEUTRON_OVS_TUNNEL_IF=eth1\nCONFIG_NEUTRON_OVN_TUNNEL_IF=eth2",
    "tempest": "CONFIG_TEMPEST_HOST=192.0.2.9",
    "hosts": "CONFIG_NETWORK_HOSTS=192.0.2.11,192.0.2.12",
}
"""With a word on what counts for nothing."""

SILENT = {
    "comma": ("CONFIG_NEUTRON_ML2_TYPE_DRIVERS=vxlan", "CONFIG_NEUTRON_ML2_TYPE_DRIVERS=vxlan,,"),
    "password": ("", "CONFIG_PROVISION_TEMPEST=y\nCONFIG_PROVISION_TEMPEST_USER_PW=secret"),
    "loud": ("", "CONFIG_DEFAULT_PASSWORD=Abcd!@#;=%x"),
    "geneve": ("=vxlan", "=geneve"),
    "volumes": ("", "CONFIG_CINDER_VOLUMES_CREATE=n\nCONFIG_CINDER_VOLUME_NAME=cinder-volumes"),
}

REFUSED = {
    "CONFIG_NEUTRON_L3_EXT_BRIDGE=*": "it is no name of a bridge",
    "CONFIG_NEUTRON_L3_EXT_BRIDGE=br-public-network": "it is no name of a bridge",
    "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS=a:br-public-network": "is not PHYSICAL_NETWORK:BRIDGE",
    "CONFIG_NEUTRON_OVS_BRIDGE_IFACES=br-ex:-eth1": "is not BRIDGE:NIC",
    "CONFIG_NEUTRON_OVS_TUNNEL_IF=eth1;reboot": "it is no name of a network device",
    "CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET=a b": "it is no name of a physical network",
    "CONFIG_HORIZON_SSL=y # n": "a remark cannot stand behind a value",
    "CONFIG_CEPH_MOUNT_POINT=/x": "is not a known key",
    "CONFIG_MANILA_INSTALL=y": "Manila, which is not part of onestack",
}


def judged(text: str) -> tuple[list[str], list[str]]:
    """Problems and notices."""
    file = parse(f"[general]\n{text}", "f")
    _, report = check(registry(), [file.entries], rules())
    return [*file.faults, *report.problems], report.notices


def test_what_most_files_have_is_taken_without_a_word() -> None:
    assert judged(OLD) == ([], [])


@pytest.mark.parametrize("kind", TAKEN)
def test_a_kind_that_is_taken_with_a_word(kind: str) -> None:
    problems, notices = judged(OLD + TAKEN[kind])
    assert problems == [] and notices, kind


@pytest.mark.parametrize("kind", SILENT)
def test_a_kind_that_is_taken_without_a_word(kind: str) -> None:
    usual, other = SILENT[kind]
    text = OLD.replace(usual, other) if usual else OLD + other
    assert judged(text) == ([], []), kind


@pytest.mark.parametrize("line", REFUSED)
def test_a_kind_that_is_refused_in_a_sentence(line: str) -> None:
    (problem,), _ = judged(OLD + line)
    assert REFUSED[line] in problem
