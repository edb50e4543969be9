#!/bin/bash
# The master here, and a worker on each host of conf/slaves, which has this user's key.
sbin=/opt/spark/sbin
$sbin/start-master.sh || exit
failed=0
while read -r host || [ -n "$host" ]; do
    [ -z "$host" ] || ssh -n "$host" $sbin/start-worker.sh || failed=1
done </opt/spark/conf/slaves
exit $failed
