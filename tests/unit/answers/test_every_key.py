"""Every key of packstack, one by one: what becomes of it, and that it does what it says.

``packstack_keys.tsv`` beside this file has all names that packstack read from
Havana to its last release, with their defaults in the guide's release (Mitaka)
and at its end.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.answers import packstack_file, table
from onestack.answers.packstack_file import AnswerLine
from onestack.answers.registry import registry
from onestack.answers.validate import check
from onestack.answers.values import BadValue, parse
from onestack.cli.options import rules
from onestack.components import ALL
from onestack.deploy.roster import workers_of
from onestack.model.context import Context
from onestack.model.key import Class, Key, Kind
from onestack.release.release import Release
from tests.support.needs import needs_root
from tests.unit.components.rooms import context_on, machine

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Known:
    name: str
    mitaka: str
    last: str
    first_release: str
    last_release: str


@functools.cache
def packstack() -> tuple[Known, ...]:
    lines = (HERE / "packstack_keys.tsv").read_text().splitlines()[1:]
    return tuple(Known(*line.split("\t")) for line in lines)


NAMES = [known.name for known in packstack()]


def test_the_list_is_the_tables() -> None:
    assert sorted(NAMES) == sorted(table.rows())
    assert len(NAMES) == len(set(NAMES)) == 414


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_in_exactly_one_class(name: str) -> None:
    known = registry()
    key = known.keys[name]
    assert isinstance(key.outcome, Class)
    listed = [k for group in known.groups for k in group.keys if k.name == name]
    redirected = name in known.targets
    # An older name is listed nowhere, or it leads to a key of today.
    assert len(listed) == 1 or (redirected and not listed) or table.rows()[name].old
    if key.outcome is not Class.IMPLEMENTED:
        assert len(key.note) > 15, f"{name} is {key.outcome.value} and does not say why"
        assert "not supported yet; leave" not in key.note
    if redirected:
        assert key.outcome is Class.MAPPED or known.keys[known.targets[name]] is not key
    if key.outcome is Class.REFUSED:
        with_reason = outcome_of(key, other_value(key))
        assert with_reason and key.note in with_reason[0]


def outcome_of(key: Key, text: str) -> list[str]:
    """The problems of giving ``text``."""
    return check(registry(), [[AnswerLine(key.name, text, "test")]])[1].problems


def other_value(key: Key) -> str:
    """A value that ``key`` accepts and that is not its default."""
    return next(text for text in candidates(key) if differs(key, text))


def differs(key: Key, text: str) -> bool:
    try:
        return bool(parse(key, text) != parse(key, key.default))
    except BadValue:
        return False


def candidates(key: Key) -> Iterator[str]:
    if key.name in VALUES:
        yield VALUES[key.name]
    match key.kind:
        case Kind.FLAG:
            yield from ("y", "n")
        case Kind.CHOICE:
            yield from key.choices
        case Kind.NUMBER:
            yield from ("7", "70")
        case Kind.RATIO:
            yield "2.5"
        case Kind.SIZE:
            yield from ("30G", "40G")
        case Kind.ADDRESS:
            yield "192.0.2.99"
        case Kind.INTERFACE:
            yield "10.50.14.1/24"
        case Kind.SECRET:
            yield from ("geheim", "0123456789abcdef0123456789abcdef")
        case _:
            yield from ("other", "/tmp/other", "a:b", "192.0.2.0/24", "1:9")


VALUES = {
    "CONFIG_CINDER_BACKEND": "lvm,nfs",
    "CONFIG_CINDER_NETAPP_NFS_SHARES": "n:/two",
    "CONFIG_CINDER_NFS_MOUNTS": "n:/two",
    "CONFIG_KEYSTONE_LDAP_URL": "ldaps://other",
    "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
    "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "openvswitch,l2population",
    "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "local",
    "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "vlan,vxlan,gre",
    "CONFIG_NEUTRON_ML2_VLAN_RANGES": "extnet:5:9",
    "CONFIG_NEUTRON_ML2_VXLAN_GROUP": "239.1.1.1",
    "CONFIG_NEUTRON_OVN_BRIDGE_IFACES": "br-ex:lo",
    "CONFIG_NEUTRON_ML2_FLAT_NETWORKS": "extnet",
    "CONFIG_NEUTRON_OVN_BRIDGE_MAPPINGS": "wan:br-ex",
    "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:lo",
    "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "extnet:br-ex,b:br-b",
    "CONFIG_NOVA_PCI_ALIAS": '[{"name":"b"}]',
    "CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST": '[{"vendor_id":"8086"}]',
    "CONFIG_PROVISION_DEMO_FLOATRANGE": "198.51.100.0/24",
    "CONFIG_PROVISION_IMAGE_PROPERTIES": "os_distro=debian",
    "CONFIG_PROVISION_TEMPEST_FLOATRANGE": "198.51.100.0/24",
    "CONFIG_SSL_CERT_SUBJECT_C": "DE",
}
"""Values for keys that do not take just anything."""

_LDAP = {
    "CONFIG_KEYSTONE_IDENTITY_BACKEND": "ldap",
    "CONFIG_KEYSTONE_LDAP_URL": "ldap://l",
    "CONFIG_KEYSTONE_LDAP_SUFFIX": "dc=x",
}
_OVS = {"CONFIG_NEUTRON_L2_AGENT": "openvswitch"}
_OVN = {"CONFIG_NEUTRON_L2_AGENT": "ovn"}
_NETAPP = {
    "CONFIG_CINDER_BACKEND": "netapp",
    "CONFIG_CINDER_NETAPP_NFS_SHARES": "n:/x",
}
_UNDER = (
    # which it is not asked for while data processing is on
    ("CONFIG_HEAT_INSTALL", {"CONFIG_SAHARA_INSTALL": "n"}),
    ("CONFIG_KEYSTONE_LDAP_", _LDAP),
    ("CONFIG_NEUTRON_ML2_TUNNEL_ID", {**_OVS, "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "gre,vxlan"}),
    ("CONFIG_NEUTRON_OVN_", {**_OVN, "CONFIG_NEUTRON_OVN_EXTERNAL_PHYSNET": ""}),
    ("CONFIG_NEUTRON_", _OVS),
    ("CONFIG_CINDER_NETAPP_SIZE", {**_NETAPP, "CONFIG_CINDER_NETAPP_STORAGE_PROTOCOL": "iscsi"}),
    ("CONFIG_CINDER_NETAPP_NFS_SHARES_CONFIG", {**_NETAPP, "CONFIG_CINDER_NETAPP_NFS_SHARES": ""}),
    ("CONFIG_CINDER_NETAPP_", _NETAPP),
    ("CONFIG_CINDER_SOLIDFIRE_", {"CONFIG_CINDER_BACKEND": "solidfire"}),
    ("CONFIG_CINDER_NFS_", {"CONFIG_CINDER_BACKEND": "nfs"}),
    ("CONFIG_NOVA_PCI_ALIAS", {"CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST": '[{"vendor_id":"1"}]'}),
    ("CONFIG_PROVISION_DEMO_", {"CONFIG_PROVISION_DEMO": "y"}),
    ("CONFIG_KEYSTONE_DEMO_PW", {"CONFIG_PROVISION_DEMO": "y"}),
    ("CONFIG_PROVISION_OVS_BRIDGE", {"CONFIG_PROVISION_DEMO": "y"}),
    ("CONFIG_PROVISION_TEMPEST_FLOATRANGE", {"CONFIG_PROVISION_TEMPEST": "y"}),
    (
        "CONFIG_PROVISION_TEMPEST_USER",
        {"CONFIG_PROVISION_TEMPEST": "y", "CONFIG_PROVISION_TEMPEST_USER": "tester"},
    ),
)
"""A key's beginning, and the answers under which it is read at all. The first that fits."""

ELSEWHERE = {
    "CONFIG_KEYSTONE_ADMIN_EMAIL": "set through keystone's API: test_provision",
    "CONFIG_KEYSTONE_ADMIN_PW": "in admin-openrc; a room outside this walk's machine",
    "CONFIG_MARIADB_PW": "set in the server: test_provision",
    "CONFIG_MARIADB_USER": "set in the server: test_mariadb_administrator",
    "CONFIG_NOVA_MANAGE_FLAVORS": "test_provision: wanted_flavors",
    "CONFIG_PROVISION_DEMO_ALLOCATION_POOLS": "test_provision: pools",
    "CONFIG_PROVISION_IMAGE_FORMAT": "test_provision: what an image is said to be",
    "CONFIG_PROVISION_IMAGE_NAME": "test_provision: what an image is said to be",
    "CONFIG_PROVISION_IMAGE_PROPERTIES": "test_provision: what an image is said to be",
    "CONFIG_PROVISION_IMAGE_SSH_USER": "test_provision: tempest.conf",
    "CONFIG_PROVISION_IMAGE_URL": "test_provision: what an image is said to be",
    "CONFIG_PROVISION_UEC_IMAGE_DISK_URL": "test_provision: an image in three parts",
    "CONFIG_PROVISION_UEC_IMAGE_NAME": "test_provision: an image in three parts",
    "CONFIG_PROVISION_UEC_IMAGE_RAMDISK_URL": "test_provision: an image in three parts",
    **{
        f"CONFIG_PROVISION_TEMPEST_FLAVOR_{short}{what}": "test_provision: wanted_flavors"
        for short in ("", "ALT_")
        for what in ("NAME", "DISK", "RAM", "VCPUS")
    },
    **{
        f"CONFIG_SSL_{what}": "test_haproxy: whose authority signs"
        for what in ("CACERT_FILE", "CACERT_KEY_FILE", "CACERT_SELFSIGN")
    },
    **{
        f"CONFIG_SSL_CERT_SUBJECT_{part}": "test_haproxy: the certificate's subject"
        for part in ("C", "ST", "L", "O", "OU", "CN", "MAIL")
    },
    "CONFIG_CINDER_NETAPP_STORAGE_FAMILY": "upstream has left one value, which is rendered",
    "CONFIG_NEUTRON_OVN_EXTERNAL_PHYSNET": "where the demo's network is: test_provision",
    "CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET": "where the demo's network is: test_provision",
    **{
        f"CONFIG_CINDER_{what}": "of a volume group, for a machine with device-mapper: "
        "test_cinder_volume_group, test_volume_group"
        for what in ("VOLUMES_CREATE", "VOLUME_NAME")
    },
    "CONFIG_CINDER_VOLUMES_SIZE": "test_pool: the pool's size",
    "CONFIG_RUN_TEMPEST": "a task of its own: components/test_tempest",
    "CONFIG_RUN_TEMPEST_TESTS": "read by that task: components/test_tempest",
    "CONFIG_SKIP_TEMPEST_TESTS": "read by that task: components/test_tempest",
    "CONFIG_CONTROLLER_HOST": "it is a fact of the machine: test_facts, test_haproxy",
    **{
        f"CONFIG_HORIZON_SSL_{what}": "they name files that must be there: test_horizon"
        for what in ("CERT", "KEY", "CACERT")
    },
    "CONFIG_SWIFT_STORAGE_SIZE": "the size of a loop file: swift's own tests",
    "CONFIG_USE_SUBNETS": "it allows values of other keys: test_neutron",
    "CONFIG_NEUTRON_OVS_TUNNEL_IF": "its address is looked up: test_addresses",
    "CONFIG_NEUTRON_OVN_TUNNEL_IF": "its address is looked up: test_addresses",
}
"""Keys whose effect is no text that a component renders, and where it is tested."""


def under(name: str) -> dict[str, str]:
    """With every service on, unless the key says so of one."""
    services = {
        key.name: "y"
        for key in registry().keys.values()
        if key.name.endswith("_INSTALL") and key.outcome is Class.IMPLEMENTED and key.name != name
    }
    return services | next((given for start, given in _UNDER if name.startswith(start)), {})


IMPLEMENTED = [n for n in NAMES if registry().keys[n].outcome is Class.IMPLEMENTED]


@needs_root
@pytest.mark.parametrize("name", [n for n in IMPLEMENTED if n not in ELSEWHERE])
def test_an_implemented_key_changes_what_is_rendered(
    name: str, tmp_path: Path, installed: Release
) -> None:
    key = registry().keys[name]
    base = under(name)
    before = rendered(tmp_path, installed, base)
    changed = {
        **base,
        name: other_value(dataclasses.replace(key, default=base.get(name, key.default))),
    }
    assert rendered(tmp_path, installed, changed) != before


def rendered(root: Path, found: Release, given: dict[str, str]) -> list[str]:
    """All that components say of a cloud, as text."""
    ctx = full_context(root, found, given)
    said = []
    for declared in ctx.model:
        said += [f"{f.path} {f.mode} {f.content}" for f in declared.files]
        said += [repr(process) for process in declared.processes]
        said += [repr(task.name) for task in declared.tasks]
        said += [repr(thing) for thing in (*declared.frontends, *declared.directories)]
        said += declared.packages
    return [*said, repr(workers_of(ctx))]


def full_context(root: Path, found: Release, given: dict[str, str]) -> Context:
    answers = registry().answers(given)
    components = tuple(c for c in ALL if c.enabled(answers))
    made = context_on(machine(kernel=True), root, *components, **given)
    return dataclasses.replace(made, release=found)


REFUSED_AT_STOCK: dict[str, set[str]] = {
    "mitaka": {
        *(f"CONFIG_{s}_INSTALL" for s in ("HORIZON", "SWIFT", "CEILOMETER", "AODH", "GNOCCHI")),
    },
    "last": {
        *(f"CONFIG_{s}_INSTALL" for s in ("HORIZON", "SWIFT", "CEILOMETER", "AODH", "GNOCCHI")),
    },
}
"""What of packstack's own defaults needs a service that is no part of onestack yet."""


@pytest.mark.parametrize("release", ["mitaka", "last"])
def test_a_file_that_packstack_itself_wrote_can_be_used(release: str) -> None:
    """Every key at packstack's own default, its texts for this machine's facts filled in."""
    lines = ["[general]"]
    for known in packstack():
        if release == "mitaka" and known.first_release > "mitaka" and known.first_release != "zed":
            continue
        text = {
            "(empty)": "",
            "(this host's IP)": "192.0.2.5",
            "(ldap://this host's IP)": "ldap://192.0.2.5",
            "(host name)": "somewhere",
            "(admin@host name)": "admin@somewhere",
            "(first ~/.ssh/*.pub)": "/root/.ssh/id_rsa.pub",
            "(first NIC)": "eth0",
            "(random 16 hex)": "0123456789abcdef",
            "(random 32 hex)": "0123456789abcdef0123456789abcdef",
            "<DEMO_IMAGE_URL>": "http://download.cirros-cloud.net/0.5.1/cirros.img",
        }.get(value := getattr(known, release), value)
        lines.append(f"{known.name}={text}")
    parsed = packstack_file.parse("\n".join(lines), "stock")
    assert not parsed.faults
    answers, report = check(registry(), [parsed.entries], rules())
    unexpected = [
        problem
        for problem in report.problems
        if not any(f" {name}=y is refused" in problem for name in REFUSED_AT_STOCK[release])
    ]
    assert not unexpected, "\n".join(unexpected)
    if not report.problems:
        assert answers is not None
