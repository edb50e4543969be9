#!/bin/bash
# All workers of conf/slaves, then the master. One that does not run, or is gone, is no mistake.
sbin=/opt/spark/sbin
while read -r host || [ -n "$host" ]; do
    [ -z "$host" ] || ssh -n "$host" $sbin/stop-worker.sh || :
done </opt/spark/conf/slaves
$sbin/stop-master.sh || :
