"""What neutron, its switch and its guests' ports leave in the host's own network, and its end.

A cloud in a network namespace of its own takes all of it along. In the host's
there stay, when all processes have ended: the agents' network namespaces, the
ports of a userspace switch (persistent tap devices), guests' bridges and
cables, chains and sets of security groups.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.components.neutron.namespaces import NAMESPACE
from onestack.host import netns
from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.kernel import proc
from onestack.model.change import Change, Undo
from onestack.model.context import Context
from onestack.network.distribution import distribution

KIND = "guest networks"
_SETS = ("NIPv4", "NIPv6")
_CHAINS = "neutron-"


def ensure_noted(ctx: Context, namespaces: Path) -> Iterator[Change]:
    """An entry in the ledger, with the tables of packet filters that were there before."""
    if ctx.cloud.netns:
        return
    ledger = Ledger.of(ctx.cloud)
    if not any(entry.kind == KIND for entry in ledger.entries()):
        data = {
            "namespaces": str(namespaces),
            "database": str(ctx.cloud.data / "openvswitch" / "conf.db"),
            "tool": distribution(ctx).program("ovsdb-tool"),
            "tables": sorted(_tables()),
        }
        yield Change("note how the host's network was", lambda: ledger.record(KIND, **data))


def undo_networks(data: dict[str, Any]) -> None:
    _remove_namespaces(Path(data["namespaces"]))
    _remove_devices(ports(data["tool"], Path(data["database"])))
    _remove_filters(set(data["tables"]))


def _remove_namespaces(noted: Path) -> None:
    for file in sorted(noted.glob("*")):
        if re.fullmatch(NAMESPACE, file.name) and netns.exists(file.name):
            run(["ip", "netns", "delete", file.name], timeout=30, finish=True)


def ports(tool: str, database: Path) -> set[str]:
    """Names of the switch's interfaces, from its database as it lies on the disk."""
    if not database.exists() or not shutil.which(tool):
        return set()
    query = [
        "Open_vSwitch",
        {"op": "select", "table": "Interface", "where": [], "columns": ["name"]},
    ]
    answer = run([tool, "query", str(database), json.dumps(query)], timeout=30, check=False)
    if not answer.ok:
        return set()
    return {str(row["name"]) for row in json.loads(answer.out)[0]["rows"]}


def _remove_devices(names: set[str]) -> None:
    links = json.loads(run(["ip", "-details", "-json", "link", "show"], timeout=30).out or "[]")
    for name in sorted(doomed(names, links, switch_runs())):
        # one end of a cable takes the other along
        run(["ip", "link", "delete", name], timeout=20, check=False)


def doomed(names: set[str], links: Iterable[dict[str, Any]], in_use: bool) -> set[str]:
    """Which devices go: software ones that were the switch's, and what nova hangs on them."""
    cables = {name[3:] for name in names if name.startswith("qvo")}
    wanted = names | {f"{kind}{cable}" for cable in cables for kind in ("qbr", "qvb", "tap")}
    if not in_use:
        # of the userspace datapath as a whole, which other clouds' switches may share
        wanted.add("ovs-netdev")
    return {
        str(link["ifname"])
        for link in links
        if link["ifname"] in wanted
        and link.get("linkinfo", {}).get("info_kind") in ("tun", "veth", "bridge")
    }


def switch_runs() -> bool:
    """Whether any ovs-vswitchd still runs in this network namespace."""
    here = proc.namespace("self", "net")
    return any(
        b"ovs-vswitchd" in b" ".join(proc.arguments(pid)) and proc.namespace(pid, "net") == here
        for pid in proc.pids()
    )


def _remove_filters(before: set[str]) -> None:
    for program in filter(shutil.which, ("iptables", "ip6tables")):
        saved = run([f"{program}-save"], timeout=30, check=False)
        if saved.ok and _CHAINS in saved.out:
            run([f"{program}-restore"], stdin=without_chains(saved.out), timeout=30)
    if shutil.which("ipset"):
        sets = run(["ipset", "list", "-name"], timeout=20, check=False)
        for name in sets.out.split():
            if name.startswith(_SETS):
                run(["ipset", "destroy", name], timeout=20, check=False)
    for table in sorted(_tables() - before):
        listing = run(["nft", "--json", "list", "table", *table.split()], timeout=20, check=False)
        if listing.ok and empty(json.loads(listing.out)):
            run(["nft", "delete", "table", *table.split()], timeout=20, check=False)


def without_chains(saved: str) -> str:
    """What ``iptables-save`` told, without neutron's chains and all that leads to them."""
    return "".join(f"{line}\n" for line in saved.splitlines() if _CHAINS not in line)


def empty(listing: dict[str, Any]) -> bool:
    """Whether a table does nothing: no rule, and nothing but the built-in chains, all open."""
    for item in listing.get("nftables", ()):
        if "rule" in item or "set" in item or "map" in item:
            return False
        if "chain" in item and item["chain"].get("policy") != "accept":
            return False
    return True


def _tables() -> set[str]:
    """``ip filter`` and the like, as nftables has them."""
    if not shutil.which("nft"):
        return set()
    listed = run(["nft", "list", "tables"], timeout=20, check=False)
    return {line.removeprefix("table ") for line in listed.out.splitlines() if line}


UNDO: Mapping[str, Undo] = {KIND: undo_networks}
