"""What guests send is for the switch alone: this machine's kernel does not take it as sent to it.

The kernel's datapath takes a frame at the guest's device, and nobody else gets it. A switch in
userspace only reads along there, and so the kernel's own stack hears every frame as well: it
would answer, and pass on, whatever no security group has looked at.

Which frames these are is told by the device that they come in by. A guest chooses its MAC
address, and os-vif gives the device the same one.
"""

from __future__ import annotations

import functools
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onestack.host import netns, nftables
from onestack.model.change import Change
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Task
from onestack.model.findings import Finding, refuse
from onestack.model.process import FileProbe, Process
from onestack.network.bridges import Bridges

NAME, SET = "guests-unheard", "guests"
SECONDS = 30
"""In which rules are back that went with somebody's ``flush ruleset``."""
DEVICE = r"tap[0-9a-f]{8}-[0-9a-f]{2}"
"""What nova and neutron call the device of a port: by the first eleven characters of its id."""

KEEPER = (
    r"""# keeps this machine from hearing guests: their devices are in the sets of TABLE
# arguments: TABLE RULES READY SECONDS, in which it looks whether its rules are there
set -eu
"""
    + nftables.SHELL
    + r"""
table=$1 rules=$2 ready=$3 seconds=$4
hex='[0-9a-f]'
port="$hex$hex$hex$hex$hex$hex$hex$hex-$hex$hex"
families=inet known=" "
# of this network, told before the kernel tells of the device, and without a program
devices=/proc/sys/net/ipv4/conf

look() {
    now=" "
    for each in $devices/tap$port; do
        ! here "${each##*/}" || now="$now${each##*/} "
    done
}

here() {
    [ -d "$devices/$1" ]
}

load() {
    # all at once, rules too: guests that run are not heard for a moment either
    look
    text=$(rules_of "$rules")
    said=$({ echo "$text"; elements add $now; } | nft -f - 2>&1) || {
        echo "nft: $said" >&2
        exit 1
    }
    known=$now
    silence $devices/*
}

follow() {
    # NAME at once, then all else that has come and gone by now: each is told of by itself
    ! here "$1" || [ "$known" != "${known#*" $1 "}" ] || change "$1" ""
    look
    come= gone=
    for each in $now; do
        case $known in *" $each "*) ;; *) come="$come $each" ;; esac
    done
    for each in $known; do
        case $now in *" $each "*) ;; *) here "$each" || gone="$gone $each" ;; esac
    done
    [ -z "$come$gone" ] || change "$come" "$gone"
}

change() {
    if { elements add $1; elements delete $2; } | nft -f -; then
        for each in $1; do
            known="$known$each "
        done
        for each in $2; do
            known="${known%%" $each "*} ${known#*" $each "}"
        done
        silence $1
    else
        load
    fi
}

elements() {
    what=$1 list=
    shift
    for each; do
        list="$list\"$each\", "
    done
    for family in ${list:+$families}; do
        echo "$what element $family $table guests { $list};"
    done
}

silence() {
    # without rules for ARP the device itself takes none: no bridge and no switch minds
    [ "$families" = inet ] || return 0
    for each; do
        each=${each##*/}
        case $each in
            tap$port | qvo$port | qbr$port) ip link set dev "$each" arp off 2>/dev/null || : ;;
        esac
    done
}

loaded() {
    # not where somebody has loaded other rules in the place of all, of which nobody tells
    for family in $families; do
        echo "list set $family $table guests"
    done | nft -f - >/dev/null 2>&1
}

! has_arp || families="inet arp"
# before there is a guest
load
{
    # once more when ip surely listens: no device goes unseen
    { sleep 1; echo load; while sleep "$seconds"; do echo look; done; } &
    ip -oneline monitor link || :
    echo ended
} | {
    # without it "ip" would be waited for, until it has something to tell
    trap 'kill $$ 2>/dev/null || :' EXIT
    : > "$ready"
    echo "what guests send is heard by the switch alone"
    [ "$families" != inet ] || echo "the kernel has no rules for ARP: devices are without it"
    while read -r line; do
        case $line in
            load) load; continue ;;
            look) loaded || load; continue ;;
            ended) break ;;
        esac
        name=${line#*: }
        name=${name%%[:@]*}
        # a device changes often, and is known already
        case $known in
            *" $name "*) case $line in Deleted*) ;; *) continue ;; esac ;;
        esac
        case $name in
            tap$port) follow "$name" ;;
            *) silence "$name" ;;
        esac
    done
    echo "the kernel's messages have ended" >&2
}
"""
)


class Unheard(Feature):
    """With a switch in userspace."""

    name = "unheard"
    title = "Guests that this machine does not hear"

    def on(self, ctx: Context) -> bool:
        return ctx.once(Bridges).datapath == "netdev"

    def files(self, ctx: Context) -> Iterable[ConfigFile]:
        group = ctx.cloud.user("openvswitch")
        yield ConfigFile(_script(ctx), KEEPER, group)
        yield ConfigFile(_script(ctx).with_suffix(".nft"), rules(table(ctx)), group)

    def processes(self, ctx: Context) -> Iterable[Process]:
        """The keeper. Its table stays when it ends: guests may run on meanwhile."""
        script, filters = (str(file.path) for file in self.files(ctx))
        ready = ctx.cloud.run / "openvswitch" / NAME
        yield Process(
            name=NAME,
            component="openvswitch",
            user=ctx.cloud.user("openvswitch"),
            argv=("/bin/sh", script, table(ctx), filters, str(ready), str(SECONDS)),
            files=(script, filters),
            capabilities=("net_admin",),
            prepare=(("rm", "-f", str(ready)),),
            probe=FileProbe(str(ready), seconds=20),
        )

    def tasks(self, ctx: Context) -> Iterable[Task]:
        # what is noted wants nft to be undone
        noted = functools.partial(nftables.ensure_noted, ctx.cloud, table(ctx))
        yield Task("unheard", noted, ("packages",), before_start=True)

    def purge(self, ctx: Context) -> Iterator[Change]:
        """The kernel has a datapath now."""
        yield from nftables.forget(ctx.cloud, table(ctx))


def _script(ctx: Context) -> Path:
    return ctx.cloud.etc / "openvswitch" / f"{NAME}.sh"


def table(ctx: Context) -> str:
    """No other cloud's table has the name: a cloud's own has no ``_``."""
    return f"{ctx.cloud.prefix}_guests_unheard".replace("-", "_")


def rules(name: str) -> str:
    """nftables rules: what comes in by a device of a guest's comes no further.

    The switch has read it before. Fragments are dropped before they are put together (-400),
    and all before connections are tracked. A ``qvo`` is the end of a cable in the switch, whose
    other end is in a ``qbr`` bridge of the kernel's (``iptables_hybrid``): what passes that
    bridge is shown to packet filters as well, with the bridge as the device, and passes on; what
    is for the bridge itself, which is this machine, does not. Loading the rules again replaces
    them.
    """
    return f"""table inet {name}
delete table inet {name}
table inet {name} {{
  set {SET} {{
    type ifname
  }}
  chain prerouting {{
    type filter hook prerouting priority -450; policy accept;
    iifname @{SET} drop
    iifname "qvo*" drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "qbr*" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "qbr*" oifname != "qbr*" drop
  }}
}}
table arp {name}
delete table arp {name}
table arp {name} {{
  set {SET} {{
    type ifname
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname @{SET} drop
    iifname "qvo*" drop
    iifname "qbr*" drop
  }}
}}
"""


def heard(ctx: Context, found: Mapping[str, Any]) -> Iterator[Finding]:
    """What this machine hears of guests: nothing, unless somebody else changed the rules.

    ``found`` are those of the cloud's network, as `nftables.ruleset` has them.
    """
    if ctx.once(Bridges).datapath != "netdev":
        return
    what = "this machine hears what guests send, and answers, past their security groups"
    # a cloud that an older program has started has no keeper yet
    known = _script(ctx).exists()
    cure = f"onestack restart openvswitch/{NAME}" if known else "onestack up"
    if gone := nftables.gone(found, table(ctx), ctx.cloud.netns):
        yield refuse(what, gone, cure)
        return
    lacking = _lacking(ctx, found)
    if lacking:
        # one that has just come is in it in a moment
        time.sleep(1)
        lacking &= _lacking(ctx, nftables.ruleset(ctx.cloud.netns))
    for family in nftables.FAMILIES:
        if names := sorted(name for name, of in lacking if of == family):
            yield refuse(
                what,
                f"{', '.join(names)}: not in the set {SET} of the packet filter's table "
                f"{family} {table(ctx)}",
                cure,
            )


def _lacking(ctx: Context, found: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Guests' devices and the families whose set they are not in, by the rules ``found``.

    Devices are looked at afterwards: one that has gone meanwhile is none.
    """
    if ctx.cloud.netns and not netns.exists(ctx.cloud.netns):
        return set()
    with netns.inside(ctx.cloud.netns):
        present = {name for _, name in socket.if_nameindex() if re.fullmatch(DEVICE, name)}
    sets = nftables.elements(found, table(ctx), SET)
    return {(name, family) for family, names in sets.items() for name in present - names}
