"""packstack's own defaults, where `onestack up` has leaner ones.

A file that ``packstack --gen-answer-file`` writes has them, and so has a key that is missing
in a file for ``packstack --answer-file``. Where packstack's own would serve nobody here,
onestack's stays; `KEPT` says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from onestack.answers import facter, table
from onestack.answers.hosts import CONTROLLER
from onestack.answers.packstack_file import AnswerLine
from onestack.answers.registry import Registry
from onestack.answers.values import PLACEHOLDER, flag, means_default
from onestack.model.key import Class, Key

LATEST = "latest"

_GUEST = "the guest that is made here needs more"
_OWN_GUEST = "a small guest is made here; packstack's comes from a server of others"
_CHOOSES = "empty takes what fits CONFIG_NEUTRON_L2_AGENT"

KEPT: Mapping[str, str] = {
    "CONFIG_HORIZON_SSL": "passwords do not cross a network in the clear unless somebody says so",
    "CONFIG_AMQP_AUTH_USER": "nobody sees the name",
    "CONFIG_SERVICE_WORKERS": "each service is one process, whatever the number of cores",
    "CONFIG_NEUTRON_ML2_VNI_RANGES": "packstack's is room for 91 networks",
    "CONFIG_NEUTRON_ML2_TUNNEL_ID_RANGES": "packstack's is no range at all",
    "CONFIG_PROVISION_IMAGE_URL": _OWN_GUEST,
    "CONFIG_PROVISION_UEC_IMAGE_KERNEL_URL": _OWN_GUEST,
    "CONFIG_PROVISION_UEC_IMAGE_RAMDISK_URL": _OWN_GUEST,
    "CONFIG_PROVISION_UEC_IMAGE_DISK_URL": _OWN_GUEST,
    "CONFIG_PROVISION_TEMPEST_FLAVOR_RAM": _GUEST,
    "CONFIG_PROVISION_TEMPEST_FLAVOR_ALT_RAM": _GUEST,
    "CONFIG_CINDER_NETAPP_NFS_SHARES_CONFIG": "a place that packstack made up",
    "CONFIG_KEYSTONE_LDAP_USER_ENABLED_DEFAULT": "keystone's own is the same",
}
"""Keys whose default is onestack's in both, and why."""

KEPT_IN_LATEST: Mapping[str, str] = {
    "CONFIG_NEUTRON_L2_AGENT": "packstack's is ovn, which not every Open vSwitch can carry; empty "
    "takes it where it can be trusted",
    "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": _CHOOSES,
    "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": _CHOOSES,
    "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": _CHOOSES,
    "CONFIG_NEUTRON_METERING_AGENT_INSTALL": "ovn has no such agent",
}

_WRITTEN = (
    "CONFIG_NEUTRON_L2_AGENT",
    "CONFIG_NEUTRON_ML2_",
    "CONFIG_NEUTRON_OVS_",
    "CONFIG_NOVA_PCI_",
    "CONFIG_SSL_CERT_SUBJECT_",
)
"""Beginnings of keys whose default stands in a file that is made, and is not put into one that
lacks the key: onestack's own follows from the other answers there."""

_HOST = "(this host's IP)"


@dataclass(frozen=True)
class Machine:
    """What packstack's defaults say of the machine."""

    address: str = ""
    name: str = ""

    @classmethod
    def this(cls, address: str) -> Machine:
        return cls(address, facter.FACTS["fqdn"]())

    def fill(self, words: str) -> str:
        """The text of a default, from the table's words for it."""
        known = {
            _HOST: self.address,
            "(host name)": self.name,
            "(admin@host name)": self.name and f"admin@{self.name}",
        }
        if words in known:
            return known[words]
        if words.startswith("(random"):
            return PLACEHOLDER
        # An empty one, or what packstack found in the home of who called it.
        return "" if words.startswith(("(", "<")) else words


def own(name: str) -> frozenset[str]:
    """What packstack itself wrote for a key, in any of the known releases."""
    row = table.rows().get(name)
    return frozenset(row.defaults.values() if row else ())


def default(key: Key, release: str, machine: Machine) -> str:
    """``key``'s in a file that packstack would write."""
    row = table.rows().get(key.name)
    kept = key.name in KEPT or (release == LATEST and key.name in KEPT_IN_LATEST)
    if row is None or kept or release not in row.defaults:
        return key.default
    # A key that does nothing says what is true here.
    if key.outcome is not Class.IMPLEMENTED and row.target != CONTROLLER:
        return key.default
    return machine.fill(row.defaults[release])


def gone(key: Key, release: str) -> bool:
    """Whether a new file has a key as a comment only: packstack lost it, and nothing reads it."""
    row = table.rows().get(key.name)
    return row is not None and release not in row.defaults and key.outcome is Class.IGNORED


def missing(
    registry: Registry, release: str, given: Iterable[AnswerLine]
) -> tuple[AnswerLine, ...]:
    """Lines for what ``given`` lacks, as far as packstack's default is another than onestack's."""
    said = {registry.targets.get(line.name, line.name): line.text for line in given}
    return tuple(_lines(registry, release, said))


def _lines(registry: Registry, release: str, said: Mapping[str, str]) -> Iterator[AnswerLine]:
    for name, key in registry.keys.items():
        if key.outcome is not Class.IMPLEMENTED or name.startswith(_WRITTEN) or name in said:
            continue
        # Without networks packstack made no demo either.
        if name == "CONFIG_PROVISION_DEMO" and not _is_on(said, "CONFIG_NEUTRON_INSTALL"):
            continue
        text = default(key, release, Machine())
        if text != key.default and text and not means_default(text):
            yield AnswerLine(name, text, f"packstack's default ({release})")


def _is_on(said: Mapping[str, str], switch: str) -> bool:
    try:
        return flag(said.get(switch, "y"))
    except ValueError:
        return True
