"""Open vSwitch of the cloud's own: database, switch, and the machine's leg on br-ex."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from onestack.answers.values import Answers
from onestack.components.openvswitch import external, forwarding, nics, unheard
from onestack.components.openvswitch.undo import DATAPATH, UNDO
from onestack.host import iptables, netns, nftables, sysctl
from onestack.host.facts import closed_forwarding
from onestack.host.files import ensure_file
from onestack.host.ledger import Ledger
from onestack.model.change import Change
from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import Capability, ConfigFile, Directory, KnownError, Task
from onestack.model.findings import Finding, info, refuse, warn
from onestack.model.host import Role
from onestack.model.key import Key, Kind
from onestack.model.process import ExecProbe, FileProbe, Process
from onestack.network import demo, left_alone
from onestack.network.addresses import wrong_tunnel_end
from onestack.network.bridges import Bridges
from onestack.network.distribution import distribution, ensure_unpacked, environment
from onestack.network.ovsdb import QUIET, answers, as_user, prepare, script, shared
from onestack.network.tools import tools

TOOLS = ("ovs-vsctl", "ovs-ofctl", "ovs-appctl", "ovsdb-client")
BUFFER = 8 << 20
"""Bytes of a socket's buffer, so that segments of 64 KiB pass a userspace switch."""
BUFFERS = ("rmem_default", "wmem_default")
ADDRESS = "CONFIG_ONESTACK_EXTERNAL_ADDRESS"
KEEPER_NAME, RULES_NAME = "external-bridge.sh", "external-bridge.nft"
SETTINGS = Path("/etc/sysctl.d")


class Openvswitch(Component):
    name = "openvswitch"
    undo = UNDO
    title = "Open vSwitch"
    roles = frozenset({Role.COMPUTE, Role.GATEWAY})
    features = (unheard.Unheard(),)
    known_errors = (
        KnownError(
            r"could not open network device[\s\S]*No such device",
            "a guest's or namespace's device is gone; it comes back with it",
        ),
        KnownError(
            r"nft[\s\S]*not permitted",
            "nftables may not be used here: a container must be given net_admin",
        ),
    )
    provides = (
        Capability("switch", ("ovs-vswitchd",), socket="openvswitch/db.sock", group="openvswitch"),
        Capability("external-bridge", ("external-bridge",)),
    )
    versions = ("openvswitch-switch",)
    keys = (
        Key(
            ADDRESS,
            "",
            "The machine's own address on the external network (10.50.14.1/24), put on br-ex: "
            "floating IPs answer from the machine, and guests reach the outside through it.",
            Kind.INTERFACE,
        ),
    )

    def enabled(self, answers: Answers) -> bool:
        return bool(answers["CONFIG_NEUTRON_INSTALL"])

    def preflight_checks(self, ctx: Context) -> Iterable[Finding]:
        present = ctx.facts.cloud_devices or netns.NEW
        yield from wrong_tunnel_end(ctx.once(Bridges).tunnel_device, present)
        yield from nics.before(ctx)
        closed = ctx.facts.closed_forwarding
        for what, why, cure in forwarding.dropped(ctx, external_bridge(ctx), closed):
            yield warn(what, why, cure)
        for what, why, cure in forwarding.cut_off(ctx, closed):
            yield warn(what, why, cure)
        for what, why, cure in forwarding.unreached(ctx, external_bridge(ctx), closed):
            yield info(what, why, cure)
        yield from self._without_ipv6(ctx)

    @staticmethod
    def _without_ipv6(ctx: Context) -> Iterator[Finding]:
        if ctx.facts.ipv6:
            return
        why = "IPv6 is switched off on this machine (ipv6.disable=1, or a sysctl)"
        six = [each for each in demo.machine_addresses(ctx.answers) if ":" in each]
        if six:
            yield refuse(
                f"{external_bridge(ctx)} cannot have the address {', '.join(six)}",
                why,
                "sysctl -w net.ipv6.conf.all.disable_ipv6=0 (and take it out of /etc/sysctl.d and "
                f"of the kernel's parameters), or leave it out of {ADDRESS}",
            )
        lost = (
            "guests reach their metadata by IPv4 alone"
            if ctx.offers("chassis")
            else "guests' networks of IPv6 have no router, and no metadata by it"
        )
        yield info(lost, why)

    def health_checks(self, ctx: Context) -> Iterable[Finding]:
        rules = nftables.ruleset(ctx.cloud.netns)
        closed = closed_forwarding(ctx.cloud, rules)
        for what, why, cure in forwarding.dropped(ctx, external_bridge(ctx), closed):
            yield refuse(what, why, cure)
        for what, why, cure in forwarding.cut_off(ctx, closed, iptables.is_older()):
            yield refuse(what, why, cure)
        for what, why, cure in forwarding.unreached(ctx, external_bridge(ctx), closed):
            yield warn(what, why, cure)
        for what, why, cure in forwarding.unserved(ctx, external_bridge(ctx), rules):
            yield warn(what, why, cure)
        gone = nftables.gone(rules, _table(ctx), ctx.cloud.netns)
        if gone and demo.machine_addresses(ctx.answers):
            # a cloud that an older program has started has not all of them yet
            known = (_etc(ctx) / RULES_NAME).exists()
            yield refuse(
                "guests do not reach the outside as this machine, by its external bridge alone",
                gone,
                f"onestack restart {self.name}/{nics.KEEPER}" if known else "onestack up",
            )
        yield from unheard.heard(ctx, rules)
        yield from nics.after(ctx)
        yield from left_alone.taken(ctx, nics.ports(ctx))

    def packages(self, ctx: Context) -> Iterable[str]:
        # net-tools for the guide's ifconfig
        yield from ("iproute2", "net-tools", "nftables", "util-linux")
        if not distribution(ctx).tree:
            yield "openvswitch-switch"

    def directories(self, ctx: Context) -> Iterable[Directory]:
        user = ctx.cloud.user(self.name)
        yield Directory(ctx.cloud.data / self.name, user, user, 0o750)
        # Members of the group reach the sockets; what they make here is the group's too.
        yield Directory(ctx.cloud.run / self.name, user, user, 0o2770)

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        yield script(ctx)
        yield from tools(ctx, TOOLS)
        yield ConfigFile(_etc(ctx) / KEEPER_NAME, external.KEEPER, ctx.cloud.user(self.name))
        addresses = demo.machine_addresses(ctx.answers)
        rules = external.filters(_table(ctx), external_bridge(ctx), addresses)
        yield ConfigFile(_etc(ctx) / RULES_NAME, rules, ctx.cloud.user(self.name))
        yield wires_file(ctx)

    def processes(self, ctx: Context) -> Iterable[Process]:
        made = distribution(ctx)
        run, data = ctx.cloud.run / self.name, ctx.cloud.data / self.name
        user = ctx.cloud.user(self.name)
        socket = run / "db.sock"
        env = environment(ctx)
        yield Process(
            name="ovsdb-server",
            component=self.name,
            user=user,
            argv=shared(
                made.program("ovsdb-server"),
                str(data / "conf.db"),
                f"--remote=punix:{socket}",
                f"--unixctl={run}/ovsdb-server.ctl",
                f"--pidfile={run}/ovsdb-server.pid",
                *QUIET,
            ),
            env=env,
            prepare=(prepare(ctx, data / "conf.db", "vswitch", user),),
            probe=answers(socket),
        )
        vsctl = (made.program("ovs-vsctl"), f"--db=unix:{socket}", "--timeout=30")
        # In userspace its own ports are taps, and /dev/net/tun is root's on some machines.
        userspace = ctx.once(Bridges).datapath == "netdev"
        yield Process(
            name="ovs-vswitchd",
            component=self.name,
            user="root" if userspace else user,
            argv=shared(
                made.program("ovs-vswitchd"),
                f"unix:{socket}",
                f"--unixctl={run}/ovs-vswitchd.ctl",
                f"--pidfile={run}/ovs-vswitchd.pid",
                *QUIET,
            ),
            env=env,
            # It makes network devices, and reads and writes raw frames.
            capabilities=() if userspace else ("net_admin", "net_raw"),
            # No port of a guest's before this machine is deaf to it.
            needs=("ovsdb-server", *((unheard.NAME,) if userspace else ())),
            prepare=(*self._kernel(ctx), as_user(user, *vsctl, "--no-wait", *settings(ctx))),
            probe=ExecProbe(
                (made.program("ovs-appctl"), "-t", f"{run}/ovs-vswitchd.ctl", "version"),
                seconds=20,
            ),
        )
        ready, etc = run / "external", _etc(ctx)
        bridge, kind = external_bridge(ctx), ctx.once(Bridges).datapath
        addresses = demo.machine_addresses(ctx.answers)
        files = [file.path for file in self.files(ctx)]
        yield Process(
            name=nics.KEEPER,
            component=self.name,
            user=user,
            argv=(
                *("/bin/sh", str(etc / KEEPER_NAME), bridge, kind),
                *(" ".join(addresses), _table(ctx)),
                *(str(etc / RULES_NAME), str(ready), str(etc / nics.FILE), *vsctl),
            ),
            env=env,
            files=tuple(map(str, files)),
            capabilities=("net_admin",),
            needs=("ovs-vswitchd",),
            prepare=(("rm", "-f", str(ready)),),
            cleanup=(nftables.unload(_table(ctx)),),
            probe=FileProbe(str(ready), seconds=40),
        )

    def downloads(self, ctx: Context) -> Iterable[Task]:
        yield Task("release", lambda: ensure_unpacked(ctx), ("packages",))

    def tasks(self, ctx: Context) -> Iterable[Task]:
        yield Task("kernel", lambda: self._ensure_kernel(ctx), ("users",), before_start=True)
        told = ("packages",)
        yield Task("left-alone", lambda: ensure_left_alone(ctx), told, before_start=True)
        yield Task("nics", lambda: nics.ensure(ctx), ("packages",), before_start=True)
        # once the keeper has taken its wire away
        needs = (f"process:{nics.KEEPER}",)
        yield Task("nics-given-back", lambda: nics.ensure_given_back(ctx), needs)

    def purge(self, ctx: Context) -> Iterator[Change]:
        yield from left_alone.ensure_untold(ctx)

    @staticmethod
    def _kernel(ctx: Context) -> Iterable[tuple[str, ...]]:
        """What must be there before each start."""
        if ctx.once(Bridges).datapath == "system":
            yield ("/bin/sh", "-c", "[ -d /sys/module/openvswitch ] || modprobe openvswitch")

    @staticmethod
    def _ensure_kernel(ctx: Context) -> Iterator[Change]:
        """What the kernel must have, and a note of how it was, so that destroy leaves it so."""
        ledger, here = Ledger.of(ctx.cloud), ctx.cloud.netns
        if ctx.once(Bridges).datapath == "system":
            yield from _noted(ledger, DATAPATH, "ovs-system", here)
        else:
            with netns.outside():
                wanted = {
                    f"net.core.{name}": str(BUFFER)
                    for name in BUFFERS
                    if int(sysctl.read(f"net.core.{name}") or BUFFER) < BUFFER
                    and os.access(sysctl.path_of(f"net.core.{name}"), os.W_OK)
                }
                # Of the machine as a whole: no other namespace may write it.
                changes = list(sysctl.ensure_sysctl(wanted, ledger, shared=True))
            for change in changes:
                yield Change(change.what, functools.partial(_outside, change.do))
            if ctx.facts.systemd:
                # after a reboot as well
                lines = "".join(f"net.core.{name} = {BUFFER}\n" for name in BUFFERS)
                kept = SETTINGS / f"60-{ctx.cloud.prefix}.conf"
                yield from ensure_file(kept, lines, ledger=ledger)
        yield from nftables.ensure_noted(ctx.cloud, _table(ctx))
        if demo.machine_addresses(ctx.answers):
            forward = {"net.ipv4.ip_forward": "1"}
            yield from sysctl.ensure_sysctl(forward, ledger, here, shared=True)


def _etc(ctx: Context) -> Path:
    return ctx.cloud.etc / "openvswitch"


def settings(ctx: Context) -> tuple[str, ...]:
    """What the switch must find in its database before it makes its first port."""
    if ctx.once(Bridges).datapath == "system":
        return ("init",)
    # Without it each veth would need its checksum offload switched off.
    tso = "other_config:userspace-tso-enable=true"
    return ("init", "--", "set", "Open_vSwitch", ".", tso)


def ensure_left_alone(ctx: Context) -> Iterator[Change]:
    """Who configures the machine's network is told which devices are not its own."""
    yield from left_alone.ensure_told(ctx, nics.ports(ctx))


def external_bridge(ctx: Context) -> str:
    return ctx.once(Bridges).external or ctx.cloud.device("br-ex")


def wires_file(ctx: Context) -> ConfigFile:
    """What the keeper joins to which bridge."""
    return ConfigFile(_etc(ctx) / nics.FILE, nics.text(ctx), ctx.cloud.user("openvswitch"))


def _table(ctx: Context) -> str:
    return ctx.cloud.prefix.replace("-", "_")


def _noted(ledger: Ledger, kind: str, name: str, namespace: str | None) -> Iterator[Change]:
    data = {"name": name, "netns": namespace}
    if not any(entry.kind == kind and entry.data == data for entry in ledger.entries()):
        yield Change(f"note the {kind} {name}", lambda: ledger.record(kind, **data))


def _outside(do: Callable[[], object]) -> None:
    with netns.outside():
        do()
