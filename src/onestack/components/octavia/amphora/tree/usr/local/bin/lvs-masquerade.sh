#!/bin/sh
# lvs-masquerade.sh add|delete ipv4|ipv6 DEVICE [sriov]
# The agent calls it for each device of the balancer. What LVS forwards (UDP, SCTP) leaves
# with the device's own address, so that answers come back; what haproxy handles (TCP) need
# not be tracked. With sriov the agent filters by connections' state: all are tracked.
case "$2" in
    ipv4) family=ip ;;
    ipv6) family=ip6 ;;
    *) family= ;;
esac
if [ -z "$family" ] || [ -z "$3" ] || { [ "$1" != add ] && [ "$1" != delete ]; }; then
    echo "usage: $(basename "$0") add|delete ipv4|ipv6 DEVICE [sriov]" >&2
    exit 1
fi
device=$3
table="$family octavia_$device"

untracked() {
    [ "$1" = sriov ] || cat <<END
    chain untracked_in {
        type filter hook prerouting priority raw
        iifname "$device" meta l4proto tcp notrack
    }
    chain untracked_out {
        type filter hook output priority raw
        oifname "$device" meta l4proto tcp notrack
    }
END
}

# At once; what is there from before is replaced.
{
    echo "table $table"
    echo "delete table $table"
    if [ "$1" = add ]; then
        cat <<END
table $table {
    chain forwarded {
        type nat hook postrouting priority srcnat
        oifname "$device" meta l4proto { udp, sctp } masquerade
    }
$(untracked "$4")
}
END
    fi
} | nft -f -
