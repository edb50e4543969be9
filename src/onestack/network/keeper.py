"""This host's end of a network of guests: a small shell script keeps it, nftables guards it.

As with the external bridge, what the kernel has of a port goes with a restart of a userspace
switch and with a reboot, and somebody must be told of it: see `Management`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv4Network

from onestack.host import nftables
from onestack.model.declarations import Port

TELL = r"""
tell() {
    # what has it already is not told of once more
    [ ! -w "$1" ] || [ "$(cat "$1")" = 1 ] || echo 1 > "$1"
}
"""
"""Sets a setting of the kernel's to 1, where there is such a one and it may be set."""

KEEPER = (
    r"""# keeps DEVICE a port of BRIDGE, as neutron knows it, with ADDRESS, behind RULES
# arguments: BRIDGE DEVICE ADDRESS PORT RULES READY ovs-vsctl [OPTION...]
# PORT is a file: neutron's id of the port, its MAC address, its MTU
set -eu
bridge=$1 device=$2 address=$3 rules=$5 ready=$6
read -r port mac mtu < "$4"
shift 6

plug() {
    # a port whose device somebody has deleted is none to the switch until it is a new one
    there || "$@" --if-exists del-port "$bridge" "$device"
    "$@" --may-exist add-port "$bridge" "$device" -- \
        set interface "$device" type=internal "mac=\"$mac\"" "mtu_request=$mtu" \
        "external_ids:iface-id=$port" "external_ids:attached-mac=\"$mac\"" \
        external_ids:iface-status=active
    if ! there; then
        # ovs-vsctl only tells; its exit code is 0
        echo "ovs-vswitchd could not make $device: its log says why" >&2
        exit 1
    fi
}

there() {
    ip link show dev "$device" >/dev/null 2>&1
}

keep() {
    there || plug "$@"
    # one that goes meanwhile is told of again
    shown=$(ip -oneline address show dev "$device") || return 0
    # The guard lets nothing of the kind through; neither is the kernel to say anything.
    tell "/proc/sys/net/ipv6/conf/$device/disable_ipv6" || return 0
    tell "/proc/sys/net/ipv4/conf/$device/arp_ignore" || return 0
    case $shown in
        *" $address "*) ;;
        *)
            ip address replace "$address" dev "$device" || return 0
            echo "put $address on $device"
            ;;
    esac
    if [ -z "$(ip -oneline link show dev "$device" up)" ]; then
        ip link set "$device" up || return 0
    fi
    [ -e "$ready" ] || echo "$device is up with $address"
    : > "$ready"
}

"""
    + TELL
    + nftables.SHELL
    + r"""

# before there is an address that guests could ask
text=$(rules_of "$rules")
echo "$text" | nft -f -
plug "$@"
ip -oneline monitor link address | {
    # without it "ip" would be waited for, until it has something to tell
    trap 'kill $$ 2>/dev/null || :' EXIT
    keep "$@"
    # once more when ip surely listens: no change goes unseen
    sleep 1
    keep "$@"
    while read -r line; do
        case $line in
            *" $device: "* | *" $device "*) keep "$@" ;;
        esac
    done
    echo "the kernel's messages have ended" >&2
}
"""
)


def guard(table: str, device: str, address: IPv4Interface, reached: Iterable[Port]) -> str:
    """nftables rules: guests reach these ports of this address, and nothing else by it.

    Nobody else reaches the address, which the kernel would answer for on every device: with a
    userspace switch on a guest's own too, and the guest would then talk to that one. Answers
    to what this host asked guests come back. Nothing passes through: neither to them nor from
    them. Loading the rules again replaces them.
    """
    allowed = "".join(
        f"    ip saddr {address.network} ip daddr {address.ip} {port.protocol} dport "
        f"{port.number} accept\n"
        for port in reached
    )
    return f"""table inet {table}
delete table inet {table}
table inet {table} {{
  chain guests {{
    ct state established,related accept
{allowed}    drop
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname "{device}" jump guests
    ip daddr {address.ip} iifname != "lo" drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy accept;
    iifname "{device}" drop
    oifname "{device}" drop
  }}
}}
table arp {table}
delete table arp {table}
table arp {table} {{
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != "{device}" arp daddr ip {address.ip} drop
  }}
}}
"""


def guarded(rules: str) -> IPv4Network | None:
    """The network that `guard` made these rules for; ``None`` where guests reach nothing."""
    found = re.search(r"ip saddr (\S+) ip daddr", rules)
    return IPv4Network(found[1]) if found else None
