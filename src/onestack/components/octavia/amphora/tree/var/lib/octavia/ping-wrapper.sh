#!/bin/sh
# haproxy's health check of kind PING: whether the member answers within a second.
case "$HAPROXY_SERVER_ADDR" in
    *:*) family=-6 ;;
    *) family=-4 ;;
esac
exec ping $family -q -n -c 1 -w 1 "$HAPROXY_SERVER_ADDR" >/dev/null 2>&1
