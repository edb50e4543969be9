"""Every program that upstream's code starts is installed with the room, or known not to be used.

Upstream's packages do not say which programs they want. They are looked for in its sources; one
that is new is to be named here: with the Debian package that has it, or why it is of no use.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onestack.components import ALL
from onestack.release.release import Release
from tests.support.needs import needs_root
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

PROJECTS = (
    *("aodh", "ceilometer", "cinder", "glance", "glance_store", "gnocchi", "heat", "keystone"),
    *("neutron", "neutron_fwaas", "nova", "octavia", "os_brick", "os_vif", "oslo_concurrency"),
    *("oslo_privsep", "ovn_octavia_provider", "placement", "swift", "trove", "vif_plug_ovs"),
)
ELSEWHERE = re.compile(
    r"/tests?/"
    # other hypervisors, other vendors' storage and switches
    r"|nova/virt/zvm/|cinder/volume/drivers/(?!remotefs|nfs)|cinder/zonemanager/"
    r"|cinder/(privsep|volume)/targets/|cinder/backup/drivers/glusterfs|os_brick/caches/"
    # what runs in guests
    r"|octavia/amphorae/backends/|trove/guestagent/"
    # commands for people
    r"|/cmd/|swift/cli/|swift/common/manager|gnocchi/gendoc"
    # another router's daemon
    r"|neutron/agent/linux/evpn_router/"
    # their "execute" is none of a program
    r"|vif_plug_ovs/ovsdb/impl_vsctl|heat/engine/rsrc_defn|octavia/wsgi/api"
)
ALWAYS = frozenset(
    (
        *("blkid", "blockdev", "cat", "chgrp", "chmod", "chown", "cp", "dd", "df", "du", "env"),
        *("fallocate", "find", "findmnt", "grep", "kill", "ln", "losetup", "ls", "lsblk"),
        *("mkdir", "mkfs", "mkswap", "mv", "rm", "shred", "stat", "tar", "tee", "test"),
        *("touch", "truncate", "which"),
    )
)
"""In essential packages of Debian's."""
PACKAGES = {
    "conntrack": "conntrack",
    "cryptsetup": "cryptsetup-bin",
    "dhcp_release6": "dnsmasq-utils",
    "dnsmasq": "dnsmasq-base",
    "e2fsck": "e2fsprogs",
    "e2label": "e2fsprogs",
    "ip": "iproute2",
    "ipset": "ipset",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "iscsiadm": "open-iscsi",
    "lsscsi": "lsscsi",
    "openssl": "openssl",
    "pgrep": "procps",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "resize2fs": "e2fsprogs",
    "rsync": "rsync",
    "scp": "openssh-client",
    "sysctl": "procps",
    "umount": "util-linux",
}
ON_REQUEST = {
    # by the name of the file system, which no source has as a program
    "mkfs.ext4": "e2fsprogs",
    "mkfs.ntfs": "ntfs-3g",
    "mkfs.vfat": "dosfstools",
    # by an option's default
    "arping": "iputils-arping",
    "genisoimage": "genisoimage",
    "haproxy": "haproxy",
    "radvd": "radvd",
    "tc": "iproute2",
}
OWN = ("ovn-nbctl", "ovn-sbctl", "ovs-ofctl", "ovs-vsctl", "ovsdb-client")
"""Of the Open vSwitch that carries the networks, wherever that is from."""
NOT_USED = {
    "/lib/udev/scsi_id": "multipath, which is off",
    "/usr/bin/which": "finds xmlsec1, for federation as an identity provider",
    "cgcreate": "a limit for copying volumes, which is not set",
    "cgset": "the same",
    "conntrackd": "routers on several hosts at once",
    "dmidecode": "NVMe over fabrics",
    "ebrctl": "other networks than Open vSwitch's",
    "ifc_ctl": "the same",
    "ipmitool": "hosts' sensors",
    "keepalived": "routers on several hosts at once",
    "kpartx": "files put into images, which is off",
    "lvchange": "volumes in volume groups",
    "lvconvert": "the same",
    "lvcreate": "the same",
    "lvremove": "the same",
    "lvrename": "the same",
    "lvs": "the same",
    "mdadm": "NVMe over fabrics",
    "mm-ctl": "other networks than Open vSwitch's",
    "multipath": "multipath, which is off",
    "multipathd": "the same",
    "ndsend": "an extension of the router's agent that is off",
    "nvme": "NVMe over fabrics",
    "ploop": "Virtuozzo's images",
    "prl_disk_tool": "the same",
    "pstorage": "the same",
    "rbd": "Ceph",
    "connect": "a subcommand of nvme",
    "filter": "a subcommand of tc",
    "systemctl": "another vendor's storage",
    "tunctl": "a fallback for ip",
    "udevadm": "volumes in volume groups",
    "vgcreate": "the same",
    "vgs": "the same",
    "vhd-util": "images of Xen",
}
CALLS = re.compile(r"execute|trycmd|check_output|check_call|Popen|create_process|^run$|^call$")
LISTS = frozenset(("args", "argv", "cmd", "cmdline", "command", "commands"))
PROGRAM = re.compile(r"[a-z/][\w./+-]*")


def first_word(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return (text.split() or [""])[0]
        case ast.List(elts=[first, *_]) | ast.Tuple(elts=[first, *_]):
            return first_word(first)
        case ast.BinOp(left=node) | ast.Starred(value=node):
            return first_word(node)
    return ""


def programs(source: str) -> Iterator[str]:
    """First words of what is executed, or is kept under a name for commands."""
    for node in ast.walk(ast.parse(source)):
        word = ""
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[first, *_]):
                word = first_word(first) if CALLS.search(name) else ""
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.List() | ast.Tuple() as value):
                word = first_word(value) if name in LISTS else ""
        if PROGRAM.fullmatch(word):
            yield word


@needs_root
def test_each_program_is_accounted_for(installed: Release) -> None:
    found: dict[str, set[str]] = {}
    for project in PROJECTS:
        for path in (installed.services.site_packages / project).rglob("*.py"):
            place = str(path.relative_to(installed.services.site_packages))
            if not ELSEWHERE.search(place):
                for program in programs(path.read_text(encoding="utf-8")):
                    found.setdefault(program, set()).add(place)
    known = {*ALWAYS, *PACKAGES, *OWN, *NOT_USED}
    assert {name: places for name, places in found.items() if name not in known} == {}
    assert {*PACKAGES, *NOT_USED} - found.keys() == set(), "no source has them any more"


@pytest.mark.parametrize("agent", ["ovn", "openvswitch"])
def test_rooms_declare_the_packages(tmp_path: Path, agent: str) -> None:
    given = {
        "CONFIG_NEUTRON_L2_AGENT": agent,
        "CONFIG_CINDER_BACKEND": "lvm,solidfire",
        "CONFIG_CINDER_SOLIDFIRE_HOSTNAME": "solidfire",
        "CONFIG_CINDER_SOLIDFIRE_LOGIN": "admin",
        "CONFIG_CINDER_SOLIDFIRE_PASSWORD": "secret",
    }
    ctx = context(tmp_path, *ALL, **given)
    write_upstream(ctx)
    declared = {package for each in ctx.model for package in each.packages}
    wanted = {*PACKAGES.values(), *ON_REQUEST.values()}
    if agent == "ovn":
        # what the agents for routers and DHCP start
        wanted -= {"conntrack", "dnsmasq-base", "dnsmasq-utils", "ipset"}
        wanted -= {"iputils-arping", "radvd"}
    assert wanted - declared == set()


def test_what_is_found() -> None:
    source = """
processutils.execute('mkfs', '-t', fs)
cmd = ['tc', 'qdisc']
self._execute(*command)
utils.trycmd(("ip", "link"))
run("do %s")
other = ["not"]
execute(*['a', b])
"""
    assert sorted(programs(source)) == ["a", "do", "ip", "mkfs", "tc"]
