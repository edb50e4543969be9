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
from collections.abc import Iterable, Iterator
from pathlib import Path

from onestack.host import nftables
from onestack.model.change import Change
from onestack.model.component import Feature
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Task
from onestack.model.findings import Finding, refuse
from onestack.model.process import FileProbe, Process
from onestack.network.bridges import Bridges

NAME, SET = "guests-unheard", "guests"
DEVICE = r"tap[0-9a-f]{8}-[0-9a-f]{2}"
"""What nova and neutron call the device of a port: by the first eleven characters of its id."""

KEEPER = r"""# keeps this machine from hearing guests: their devices are in the sets of TABLE
# arguments: TABLE RULES READY
set -eu
table=$1 rules=$2 ready=$3
hex='[0-9a-f]'
device="tap$hex$hex$hex$hex$hex$hex$hex$hex-$hex$hex"

fill() {
    # all at once, rules too: guests that run are not heard for a moment either
    shown=$(ip -oneline link show)
    found=$(echo "$shown" | sed -n "s/^[0-9]*: \($device\)[:@].*/\"\1\"/p" | paste -sd ,)
    said=$({
        cat "$rules"
        [ -z "$found" ] || elements add "$found"
    } | nft -f - 2>&1) || { echo "nft: $said" >&2; exit 1; }
}

elements() {
    for family in inet arp; do
        echo "$1 element $family $table guests { $2 };"
    done
}

# before there is a guest
fill
{
    # once more when ip surely listens: no device goes unseen
    { sleep 1; echo again; } &
    exec ip -oneline monitor link
} | {
    # without it "ip" would be waited for, until it has something to tell
    trap 'kill $$ 2>/dev/null || :' EXIT
    : > "$ready"
    echo "what guests send is heard by the switch alone"
    while read -r line; do
        [ "$line" != again ] || fill
        name=${line#*: }
        name=${name%%[:@]*}
        case $name in $device) ;; *) continue ;; esac
        case $line in
            Deleted*)
                # another of the name may be there already
                ! ip link show dev "$name" >/dev/null 2>&1 || continue
                # what is not in it cannot be deleted from it
                nft "$(elements add "\"$name\""; elements delete "\"$name\"")"
                ;;
            *) nft "$(elements add "\"$name\"")" ;;
        esac
    done
    echo "the kernel's messages have ended" >&2
}
"""


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
            argv=("/bin/sh", script, table(ctx), filters, str(ready)),
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


def heard(ctx: Context) -> Iterator[Finding]:
    """What this machine hears of guests: nothing, unless somebody else changed the rules."""
    if ctx.once(Bridges).datapath != "netdev":
        return
    what = "this machine hears what guests send, and answers, past their security groups"
    # a cloud that an older program has started has no keeper yet
    known = _script(ctx).exists()
    cure = f"onestack restart openvswitch/{NAME}" if known else "onestack up"
    found = nftables.ruleset(ctx.cloud.netns)
    if gone := nftables.missing(found, table(ctx)):
        yield refuse(
            what,
            f"gone from the packet filter: {', '.join(gone)}; other rules were loaded in the "
            "place of all",
            cure,
        )
        return
    for family, names in nftables.elements(found, table(ctx), SET).items():
        present = (name for name in ctx.facts.cloud_devices if re.fullmatch(DEVICE, name))
        if lacking := sorted(set(present) - names):
            yield refuse(
                what,
                f"{', '.join(lacking)}: not in the set {SET} of the packet filter's table "
                f"{family} {table(ctx)}",
                cure,
            )
