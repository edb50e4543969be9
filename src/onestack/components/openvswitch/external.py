"""The machine's own leg on the external network: kept by a small shell script.

The bridge lives in the switch's database, but its address and link state do
not: they go with a restart of a userspace switch and with a reboot. So a
process keeps them: told by the kernel of every change, it is otherwise idle,
and as a shell it takes 1 MB where a child of the zygote takes 18.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from onestack.host import nftables
from onestack.network.keeper import TELL

KEEPER = (
    r"""# keeps BRIDGE up, and ADDRESSES on it (nothing: no address of the machine's own)
# arguments: BRIDGE DATAPATH ADDRESSES TABLE RULES READY WIRES ovs-vsctl [OPTION...]
# ADDRESSES are words with blanks in between; WIRES is a file with a line for each:
# BRIDGE NIC INNER OUTER, or BRIDGE alone
set -eu
bridge=$1 datapath=$2 addresses=$3 table=$4 rules=$5 ready=$6 wires=$7
shift 7
"""
    + TELL
    + nftables.SHELL
    + r"""
keep() {
    # not there at all: somebody restarts the switch, and the kernel will tell
    shown=$(ip -oneline address show dev "$bridge" 2>/dev/null) || return 0
    # on its network the machine has these addresses; for others another device may answer there
    # nor is it to say that it has one there
    tell "/proc/sys/net/ipv4/conf/$bridge/arp_ignore" || :
    tell "/proc/sys/net/ipv4/conf/$bridge/arp_announce" || :
    for address in $addresses; do
        case $shown in
            *" $address "*) ;;
            *)
                ip address replace "$address" dev "$bridge" || return 0
                echo "put $address on $bridge"
                ;;
        esac
    done
    [ -n "$(ip -oneline link show dev "$bridge" up)" ] || ip link set "$bridge" up || :
}

make_bridge() {
    "$@" --may-exist add-br "$name" -- set bridge "$name" "datapath_type=$datapath"
    if ! ip link show dev "$name" >/dev/null 2>&1; then
        # ovs-vsctl only tells; its exit code is 0
        echo "ovs-vswitchd could not make $name: its log says why" >&2
        exit 1
    fi
}

plug() {
    # a NIC that the machine needs stays in the machine's own bridge: a pair joins the two
    shown=$(ip -details -oneline link show dev "$nic" 2>/dev/null) || shown=
    case $shown in
        "") echo "there is no $nic: $name is without it" >&2 ;;
        *" bridge_slave "* | *" bridge forward_delay "*)
            tie "$@" ;;
        *)
            # one that is a port stays one: a router may have given it an address
            if [ -n "$(ip -oneline address show dev "$nic" scope global)" ] &&
                [ "$("$@" --if-exists get port "$nic" external_ids:onestack)" != nic ]; then
                echo "$nic has addresses of the machine's, and is left to it" >&2
                return 0
            fi
            "$@" --may-exist add-port "$name" "$nic" -- \
                set port "$nic" external_ids:onestack=nic
            plugged="$plugged $nic "
            hush "$nic"
            ip link set "$nic" up
            echo "$nic is a port of $name" ;;
    esac
}

hush() {
    # it is a wire, and no place for addresses; of a NIC the cloud's ledger has what was there
    tell "/proc/sys/net/ipv6/conf/$1/disable_ipv6"
}

own_bridge() {
    # of the NIC, by what ip has told: its master, or itself
    case $shown in
        *" bridge_slave "*) echo "$shown" | sed 's/.* master \([^ ]*\) .*/\1/' ;;
        *) echo "$nic" ;;
    esac
}

tie() {
    own=$(own_bridge)
    if ! ip link show dev "$outer" >/dev/null 2>&1; then
        mtu=$(echo "$shown" | sed 's/.* mtu \([0-9]*\) .*/\1/')
        ip link add "$outer" mtu "$mtu" type veth peer name "$inner" mtu "$mtu"
    fi
    for end in "$inner" "$outer"; do
        hush "$end"
    done
    ip link set "$outer" master "$own" up
    # for the machine's addresses its own bridge answers, and nobody else
    ip link set "$inner" arp off up
    # as a port the NIC itself would be a second way, and all would go round
    "$@" --if-exists del-port "$name" "$nic" -- --may-exist add-port "$name" "$inner" -- \
        set port "$inner" external_ids:onestack=pair
    plugged="$plugged $inner "
    joined="$joined $own"
    [ -z "$loaded" ] || fill
    echo "$nic reaches $name by $own"
}

fill() {
    # the kernel's datapath takes what comes by a wire; in userspace this machine would hear it
    alone=$plugged
    [ "$datapath" = netdev ] || alone=
    families=inet
    ! has_arp || families="inet arp"
    for family in $families; do
        for each in $alone; do
            echo "add element $family $table wires { \"$each\" }"
        done
        for each in $joined; do
            echo "add element $family $table joined { \"$each\" }"
        done
    done | nft -f -
}

mend() {
    # somebody has made the machine's own bridge anew
    while read -r name nic inner outer; do
        [ -n "$outer" ] || continue
        shown=$(ip -details -oneline link show dev "$nic" 2>/dev/null) || continue
        case $shown in *" bridge_slave "* | *" bridge forward_delay "*) ;; *) continue ;; esac
        own=$(own_bridge)
        case $(ip -oneline link show dev "$outer" 2>/dev/null) in
            *" master $own "*) ;;
            *) tie "$@" || : ;;
        esac
    done < "$wires"
}

before=$(cat "$ready.address" 2>/dev/null) || before=
plugged= joined= loaded=
name=$bridge
make_bridge "$@"
while read -r name nic inner outer; do
    make_bridge "$@"
    [ -z "$nic" ] || plug "$@"
done < "$wires"
for kind in nic pair; do
    for port in $("$@" --bare --columns=name find port external_ids:onestack=$kind); do
        case $plugged in
            *" $port "*) continue ;;
        esac
        "$@" --if-exists del-port "$port"
        [ $kind = nic ] || ip link delete "$port" 2>/dev/null || :
    done
done
for old in $before; do
    case " $addresses " in
        *" $old "*) ;;
        # it may have gone already, with the bridge
        *) ip address delete "$old" dev "$bridge" 2>/dev/null || : ;;
    esac
done
if [ -n "$addresses" ]; then
    # guests reach the outside as the machine itself, if it has an outside
    forward=/proc/sys/net/ipv4/ip_forward
    [ "$(cat $forward)" = 1 ] || echo 1 > $forward
fi
if [ -n "$addresses$plugged" ]; then
    text=$(rules_of "$rules")
    echo "$text" | nft -f -
    loaded=yes
    fill
fi
watched=$(tr '\n' ' ' < "$wires")
ip -oneline monitor link address | {
    keep
    echo "$addresses" > "$ready.address"
    : > "$ready"
    echo "$bridge is up${addresses:+ with $addresses}"
    # once more when ip surely listens: no change goes unseen
    sleep 1
    keep
    mend "$@"
    while read -r line; do
        case $line in
            *" $bridge: "* | *" $bridge "*) keep ;;
        esac
        for device in $watched; do
            case $line in
                *" $device: "* | *" $device@"*) mend "$@"; break ;;
            esac
        done
    done
}
echo "the kernel's messages have ended" >&2
exit 1
"""
)


def filters(table: str, bridge: str, addresses: Iterable[str]) -> str:
    """nftables rules for the external network; loading them again replaces them.

    What leaves from it goes as the machine itself. Not so what only passes neutron's ``qbr``
    bridges (iptables_hybrid), where br_netfilter shows bridged packets to these rules as well:
    the answer of a guest would come from another address than was asked.

    The kernel would answer by ARP for the machine's ``addresses`` there (with their prefix
    lengths) on every device that the question comes by: also on the bridges of NICs that are
    ``joined`` to the switch's. And what comes by one of ``wires`` is for the switch alone.
    """
    interfaces = [ipaddress.ip_interface(address) for address in addresses]
    out = "\n".join(
        f"    {'ip' if each.version == 4 else 'ip6'} saddr {each.network} "
        f'oifname != "{bridge}" oifname != "qbr*" masquerade'
        for each in interfaces
    )
    own = "\n".join(
        f"    iifname @joined arp daddr ip {each.ip} drop"
        for each in interfaces
        if each.version == 4
    )
    return f"""table inet {table}
delete table inet {table}
table inet {table} {{
  set wires {{
    type ifname
  }}
  set joined {{
    type ifname
  }}
  chain prerouting {{
    type filter hook prerouting priority -450; policy accept;
    iifname @wires drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
{out}
  }}
}}
table arp {table}
delete table arp {table}
table arp {table} {{
  set wires {{
    type ifname
  }}
  set joined {{
    type ifname
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname @wires drop
{own}
  }}
}}
"""
