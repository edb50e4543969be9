"""What is removed from the host's own network, and what is left alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from onestack.components.neutron import undo

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


def link(name: str, kind: str = "tun") -> dict[str, Any]:
    return {"ifname": name, "linkinfo": {"info_kind": kind}}


def test_ports_and_what_hangs_on_them_go() -> None:
    names = {"br-ex", "br-int", "qvo123", "patch-tun", "eno1"}
    links = [
        link("br-ex"),
        link("br-int"),
        link("qvo123", "veth"),
        link("qvb123", "veth"),
        link("qbr123", "bridge"),
        link("ovs-netdev"),
        {"ifname": "eno1"},
        link("virbr0", "bridge"),
        link("tapother"),
    ]
    going = {"br-ex", "br-int", "qvo123", "qvb123", "qbr123"}
    assert undo.doomed(names, links, in_use=True) == going
    assert undo.doomed(names, links, in_use=False) == going | {"ovs-netdev"}


def test_only_neutrons_chains_go() -> None:
    saved = """*filter
:INPUT ACCEPT [0:0]
:neutron-filter-top - [0:0]
:neutron-openvswi-INPUT - [0:0]
-A INPUT -j neutron-openvswi-INPUT
-A INPUT -p tcp --dport 22 -j ACCEPT
-A neutron-openvswi-INPUT -j RETURN
COMMIT
"""
    assert (
        undo.without_chains(saved)
        == """*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT
COMMIT
"""
    )


def test_a_table_that_does_anything_stays() -> None:
    chain = {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "policy": "accept"}}
    table = {"table": {"family": "ip", "name": "filter"}}
    assert undo.empty({"nftables": [{"metainfo": {}}, table, chain]})
    further: tuple[dict[str, Any], ...] = (
        {"rule": {}},
        {"set": {}},
        {"chain": {"name": "INPUT", "policy": "drop"}},
    )
    for more in further:
        assert not undo.empty({"nftables": [table, chain, more]})


@pytest.mark.skipif(
    not (shutil.which("ovsdb-tool") and SCHEMA.exists()), reason="no Open vSwitch is installed"
)
def test_ports_are_read_from_the_switchs_database(tmp_path: Path) -> None:
    database = tmp_path / "conf.db"
    subprocess.run(["ovsdb-tool", "create", database, SCHEMA], check=True)
    rows = (
        ("Interface", "i", {"name": "qvo1"}),
        ("Port", "p", {"name": "qvo1", "interfaces": ["named-uuid", "i"]}),
        ("Bridge", "b", {"name": "br-int", "ports": ["named-uuid", "p"]}),
        ("Open_vSwitch", "s", {"bridges": ["named-uuid", "b"]}),
    )
    inserts = [{"op": "insert", "table": t, "uuid-name": n, "row": row} for t, n, row in rows]
    transaction = json.dumps(["Open_vSwitch", *inserts])
    subprocess.run(
        ["ovsdb-tool", "transact", database, transaction], check=True, capture_output=True
    )
    assert undo.ports("ovsdb-tool", database) == {"qvo1"}
    assert undo.ports("ovsdb-tool", tmp_path / "none") == set()
    assert undo.ports("no-such-tool", database) == set()
