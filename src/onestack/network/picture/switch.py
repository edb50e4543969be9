"""Open vSwitch's own account of what is plugged in, from one call of ``ovs-vsctl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from onestack.network.picture.model import Plug
from onestack.network.picture.tables import Question, Row, one, several

QUESTIONS = (
    Question("Bridge", ("name", "ports", "fail_mode", "controller")),
    Question("Port", ("_uuid", "name", "interfaces", "tag")),
    Question("Interface", ("_uuid", "name", "type", "options", "external_ids", "error")),
    Question("Controller", ("_uuid", "target", "is_connected")),
)
PATCH = "patch"
OWNERS = ("iface-id", "neutron-port")
"""Where an interface has the id of neutron's port: the second in routers' legs on br-ex."""


@dataclass(frozen=True)
class Interface:
    name: str
    bridge: str
    kind: str
    """Open vSwitch's ``type``; empty for a device of the kernel's."""
    tag: int | None = None
    peer: str = ""
    remote: str = ""
    port: str = ""
    """The id of neutron's port."""
    error: str = ""


@dataclass(frozen=True)
class Bridge:
    name: str
    fail_mode: str = ""
    controller: str = ""
    connected: bool | None = None


@dataclass(frozen=True)
class Switch:
    bridges: Mapping[str, Bridge]
    interfaces: Sequence[Interface] = field(default=())

    def named(self, name: str) -> Interface | None:
        return next((each for each in self.interfaces if each.name == name), None)

    def of(self, bridge: str) -> list[Interface]:
        return [each for each in self.interfaces if each.bridge == bridge]

    def plugs(self) -> dict[str, Plug]:
        """Neutron's ports to what carries them."""
        found: dict[str, Plug] = {}
        for each in self.interfaces:
            if each.port:
                plug = Plug(each.name, each.bridge, each.tag, each.error)
                found.setdefault(each.port, plug)
        return found


def switch(tables: Mapping[str, Sequence[Row]]) -> Switch:
    """Of `QUESTIONS`' answers; what vanished between two of its tables is left out."""
    controllers = {row["_uuid"]: row for row in tables["Controller"]}
    ports = {row["_uuid"]: row for row in tables["Port"]}
    known = {row["_uuid"]: row for row in tables["Interface"]}
    interfaces = [
        _interface(known[identity], row["name"], one(ports[port]["tag"]))
        for row in tables["Bridge"]
        for port in several(row["ports"])
        if port in ports
        for identity in several(ports[port]["interfaces"])
        if identity in known
    ]
    bridges = {row["name"]: _bridge(row, controllers) for row in tables["Bridge"]}
    return Switch(bridges, sorted(interfaces, key=lambda each: each.name))


def _interface(row: Row, bridge: str, tag: int | None) -> Interface:
    options, ids = row["options"], row["external_ids"]
    return Interface(
        name=row["name"],
        bridge=bridge,
        kind=row["type"],
        tag=tag,
        peer=options.get("peer", ""),
        remote=options.get("remote_ip", ""),
        port=next((ids[key] for key in OWNERS if key in ids), ""),
        error=one(row["error"]) or "",
    )


def _bridge(row: Row, controllers: Mapping[str, Row]) -> Bridge:
    own = [controllers[each] for each in several(row["controller"]) if each in controllers]
    return Bridge(
        row["name"],
        one(row["fail_mode"]) or "",
        own[0]["target"] if own else "",
        any(each["is_connected"] for each in own) if own else None,
    )
