"""The amphora: the machine that balances for provider `amphora`, and the recipe of its image.

It has what upstream's agent of this release asks for: haproxy for HTTP, TLS and TCP,
keepalived with ipvsadm for UDP and SCTP and for a pair's common address, nftables for what
comes in, and places to put things. Differences from upstream's images: certificates stay
on the guest's disk, so that it balances again after a restart, and its log is the journal's.
"""

from __future__ import annotations

from pathlib import Path

from onestack.images.debian_root import inside
from onestack.images.service_guest import Recipe

PROGRAMS = ("agent", "interface", "health_checker", "haproxy_vrrp_check", "prometheus_proxy")
"""Of ``octavia.cmd``, those that run in it."""


def try_programs(root: Path) -> None:
    """All that they import is there. Raises `CommandFailed`."""
    imports = "".join(f"import octavia.cmd.{name}; " for name in PROGRAMS)
    inside(root, ["/opt/venv/bin/python3", "-B", "-W", "ignore", "-c", imports])


AMPHORA = Recipe(
    name="amphora",
    title="the machine of a load balancer",
    packages=(
        *("haproxy", "keepalived", "ipvsadm", "nftables", "isc-dhcp-client"),
        *("bash", "debianutils", "iputils-ping", "netcat-openbsd"),
    ),
    distributions=("octavia", "pyroute2"),
    left_out=(
        *("alembic", "castellan", "cliff", "cotyledon", "futurist", "jsonpatch", "openstacksdk"),
        *("keystonemiddleware", "oslo-cache", "oslo-policy", "oslo-upgradecheck", "pecan"),
        *("pyasn1", "pyasn1-modules", "pymysql", "python-barbicanclient", "python-cinderclient"),
        *("python-glanceclient", "python-keystoneclient", "python-novaclient", "setuptools"),
        *("routes", "sqlalchemy-utils", "taskflow", "tenacity", "testresources", "testscenarios"),
        *("legacy-cgi", "tzdata"),
    ),
    tree=Path(__file__).parent / "tree",
    units=("amphora-agent.service", "prometheus-proxy.path"),
    modules=(
        *("nf_tables", "nft_*", "nf_conntrack", "nf_nat", "ip_vs*", "dummy"),
        *("sctp", "xt_ipvs", "nf_conntrack_netlink"),
    ),
    pruned=(*("usr/lib/*/perl*", "usr/share/perl*"), "usr/share/snmp"),
    finish=try_programs,
    root_mib=1500,
    min_disk_gib=2,
    min_ram_mib=512,
)
