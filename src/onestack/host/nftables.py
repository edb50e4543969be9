"""Tables of packet filters of the cloud's own, noted before they are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onestack.host import netns
from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.model.change import Change, Undo
from onestack.model.cloud import Cloud

TABLE = "nftables table"


def ensure_noted(cloud: Cloud, name: str) -> Iterator[Change]:
    """An entry for the table ``inet NAME``, which a process of the cloud makes."""
    ledger, data = Ledger.of(cloud), _entry(cloud, name)
    if not any(entry.kind == TABLE and entry.data == data for entry in ledger.entries()):
        yield Change(f"note the {TABLE} {name}", lambda: ledger.record(TABLE, **data))


def forget(cloud: Cloud, name: str) -> Iterator[Change]:
    """No such table any more, and no entry."""
    ledger, data = Ledger.of(cloud), _entry(cloud, name)
    if any(entry.kind == TABLE and entry.data == data for entry in ledger.entries()):

        def remove() -> None:
            undo_table(data)
            ledger.forget(TABLE, **data)

        yield Change(f"remove the {TABLE} {name}", remove)


def _entry(cloud: Cloud, name: str) -> dict[str, Any]:
    return {"name": name, "netns": cloud.netns}


def undo_table(data: dict[str, Any]) -> None:
    """With its namespace it went too; not there is well."""
    if not data.get("netns") or netns.exists(data["netns"]):
        with netns.inside(data.get("netns")):
            run(["nft", "delete", "table", "inet", data["name"]], check=False, timeout=20)


def unload(name: str) -> tuple[str, ...]:
    """A command for after the end of the process that loaded the table."""
    return ("/bin/sh", "-c", f"nft delete table inet {name} 2>/dev/null || :")


UNDO: Mapping[str, Undo] = {TABLE: undo_table}
