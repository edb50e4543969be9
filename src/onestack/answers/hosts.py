"""Which of the machines that an answer file names is this one.

packstack put services on as many machines as its file names. A cloud of onestack's is on one:
the controller of the file, which does the work of all the others until they can be joined.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onestack.answers import facter
from onestack.answers.packstack_file import AnswerLine
from onestack.answers.values import BadValue, split
from onestack.kernel.sockets import may_listen

CONTROLLER = "CONFIG_CONTROLLER_HOST"
_SAY_IT = (CONTROLLER, "CONFIG_KEYSTONE_HOST")
"""Where the controller is: today's key, and that of packstack's of Havana."""
_SPEAK_FOR_IT = ("NOVA_API", "MARIADB", "MYSQL", "AMQP", "HORIZON")
"""Whose host is the controller where nothing says it, if that is this machine."""
SWITCHES = {
    "CONFIG_TEMPEST_HOST": "CONFIG_PROVISION_TEMPEST",
    "CONFIG_SAHARA_HOST": "CONFIG_SAHARA_INSTALL",
    "CONFIG_HEAT_HOST": "CONFIG_HEAT_INSTALL",
    "CONFIG_HEAT_CFN_HOST": "CONFIG_HEAT_INSTALL",
    "CONFIG_HEAT_CLOUDWATCH_HOST": "CONFIG_HEAT_INSTALL",
    "CONFIG_HORIZON_HOST": "CONFIG_HORIZON_INSTALL",
    "CONFIG_CEILOMETER_HOST": "CONFIG_CEILOMETER_INSTALL",
    "CONFIG_NEUTRON_LBAAS_HOSTS": "CONFIG_LBAAS_INSTALL",
    "CONFIG_SWIFT_PROXY_HOSTS": "CONFIG_SWIFT_INSTALL",
}
"""Hosts of services that may be off."""


@dataclass(frozen=True)
class OtherHosts:
    """Machines that a line names and that this cloud does not have."""

    key: str
    hosts: tuple[str, ...]

    def notice(self, on: Mapping[str, object]) -> str:
        named = ", ".join(self.hosts)
        switch = SWITCHES.get(self.key)
        if switch and not on[switch]:
            return f"{self.key}={named} counts for nothing: {switch} is not y"
        return (
            f"{self.key} names {named}: no other machine can be joined yet, and this one does "
            "that work too"
        )


@dataclass(frozen=True)
class Settled:
    controller: AnswerLine | None
    """The line that says where the cloud answers, as an address; empty: this machine's own."""
    others: tuple[OtherHosts, ...] = ()
    problems: tuple[str, ...] = ()


def address_of(name: str) -> str:
    """The address of a host; ``""`` for this machine under a name without one of its own.

    Raises `BadValue` for a name that nobody knows.
    """
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(name))
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        if name in {"localhost", *(facter.FACTS[own]() for own in ("hostname", "fqdn"))}:
            return ""
        raise BadValue(
            "it is neither an IP address nor a name that this machine can resolve; write the "
            "address, such as 192.0.2.10"
        ) from None
    address = str(found[0][4][0])
    return "" if ipaddress.ip_address(address).is_loopback else address


def settle(layers: Iterable[Sequence[AnswerLine]]) -> Settled:
    """What the lines that name hosts come to, of all layers (later ones win)."""
    problems: list[str] = []
    named = {line: dict(_addresses(line, problems)) for line in _merged(layers)}
    controller = _controller(named)
    if problems or controller is None:
        return Settled(None, problems=tuple(problems))
    ours = {"", controller.text}
    others = [
        OtherHosts(line.name, strange)
        for line, hosts in named.items()
        if (strange := _strange(hosts, ours))
    ]
    if controller.text and not may_listen(controller.text):
        for line, hosts in named.items():
            if here := [a for a in hosts.values() if a not in ours and may_listen(a)]:
                problems.append(
                    f"{line.where}: this machine is {here[0]}, which {line.name} names, and the "
                    f"controller is {controller.text}: a machine cannot be joined to another's "
                    f"cloud yet; run it there, or make a whole cloud of this one with "
                    f"{CONTROLLER}={here[0]}"
                )
                break
    return Settled(controller, tuple(others), tuple(problems))


def _merged(layers: Iterable[Sequence[AnswerLine]]) -> Sequence[AnswerLine]:
    """A layer's lines take the place of earlier ones of the same name.

    A file of Havana's has a controller of its own, so another's before it does not count.
    """
    found: list[AnswerLine] = []
    for layer in layers:
        gone = {line.name for line in layer}
        if not gone.isdisjoint(_SAY_IT):
            gone.add(CONTROLLER)
        found = [line for line in found if line.name not in gone] + [*layer]
    return found


def _strange(hosts: Mapping[str, str], ours: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name, at in hosts.items() if at not in ours and not may_listen(at))


def _addresses(line: AnswerLine, problems: list[str]) -> Iterator[tuple[str, str]]:
    """Each host of a line, and its address."""
    for name in split(line.text):
        try:
            yield name, address_of(name)
        except BadValue as wrong:
            if line.name == CONTROLLER:
                problems.append(f"{line.where}: {line.name}={line.text}: {wrong}")
            # Another machine's name need not be known here.
            yield name, name


def _controller(named: Mapping[AnswerLine, Mapping[str, str]]) -> AnswerLine | None:
    """The line of the controller, with its address for a text.

    Another machine is it only where that is said: packstack's default was the one it ran on.
    """
    for name in _SAY_IT:
        for line in named:
            if line.name == name:
                return _at(line, named[line].values())
    speakers = [f"CONFIG_{service}_HOST" for service in _SPEAK_FOR_IT]
    likely = [line for name in speakers for line in named if line.name == name]
    if len({address for hosts in named.values() for address in hosts.values()}) == 1:
        likely = [*named]
    for line in likely:
        found = _at(line, named[line].values())
        if may_listen(found.text):
            return found
    for line in named:
        return dataclasses.replace(line, text="")
    return None


def _at(line: AnswerLine, addresses: Iterable[str]) -> AnswerLine:
    return dataclasses.replace(line, text=next(iter(addresses), ""))
