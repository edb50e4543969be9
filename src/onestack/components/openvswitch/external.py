"""The machine's own leg on the external network: kept by a small shell script.

The bridge lives in the switch's database, but its address and link state do
not: they go with a restart of a userspace switch and with a reboot. So a
process keeps them: told by the kernel of every change, it is otherwise idle,
and as a shell it takes 1 MB where a child of the warm parent takes 18.
"""

from __future__ import annotations

import ipaddress

KEEPER = r"""# keeps BRIDGE up, and ADDRESS on it (nothing: no address of the machine's own)
# arguments: BRIDGE DATAPATH ADDRESS RULES READY ovs-vsctl [OPTION...]
set -eu
bridge=$1 datapath=$2 address=$3 rules=$4 ready=$5
shift 5

keep() {
    # not there at all: somebody restarts the switch, and the kernel will tell
    shown=$(ip -oneline address show dev "$bridge" 2>/dev/null) || return 0
    case "$address:$shown" in
        :* | *" $address "*) ;;
        *)
            ip address replace "$address" dev "$bridge" || return 0
            echo "put $address on $bridge"
            ;;
    esac
    [ -n "$(ip -oneline link show dev "$bridge" up)" ] || ip link set "$bridge" up || :
}

before=$(cat "$ready.address" 2>/dev/null) || before=
"$@" --may-exist add-br "$bridge" -- set bridge "$bridge" "datapath_type=$datapath"
if ! ip link show dev "$bridge" >/dev/null 2>&1; then
    # ovs-vsctl only tells; its exit code is 0
    echo "ovs-vswitchd could not make $bridge: its log says why" >&2
    exit 1
fi
if [ -n "$before" ] && [ "$before" != "$address" ]; then
    # it may have gone already, with the bridge
    ip address delete "$before" dev "$bridge" 2>/dev/null || :
fi
if [ -n "$address" ]; then
    # guests reach the outside as the machine itself, if it has an outside
    forward=/proc/sys/net/ipv4/ip_forward
    [ "$(cat $forward)" = 1 ] || echo 1 > $forward
    nft -f "$rules"
fi
ip -oneline monitor link address | {
    keep
    echo "$address" > "$ready.address"
    : > "$ready"
    echo "$bridge is up${address:+ with $address}"
    # once more when ip surely listens: no change goes unseen
    sleep 1
    keep
    while read -r line; do
        case $line in
            *" $bridge: "* | *" $bridge "*) keep ;;
        esac
    done
}
echo "the kernel's messages have ended" >&2
exit 1
"""


def translation(table: str, bridge: str, address: str) -> str:
    """nftables rules: what leaves from the external network goes as the machine itself.

    Not so what only passes neutron's ``qbr`` bridges (iptables_hybrid), where
    br_netfilter shows bridged packets to these rules as well: the answer of a
    guest would come from another address than was asked.

    ``address`` is the machine's, with its prefix length. Loading them again
    replaces them.
    """
    network = ipaddress.ip_interface(address).network
    family = "ip" if network.version == 4 else "ip6"
    return f"""table inet {table}
delete table inet {table}
table inet {table} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    {family} saddr {network} oifname != "{bridge}" oifname != "qbr*" masquerade
  }}
}}
"""
