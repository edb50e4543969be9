#!/bin/bash
# The master, on this machine.
export SPARK_HOME=/opt/spark
. $SPARK_HOME/bin/load-spark-env.sh
exec $SPARK_HOME/sbin/spark-daemon.sh start org.apache.spark.deploy.master.Master 1 \
    --host "$SPARK_MASTER_HOST" --port "$SPARK_MASTER_PORT" \
    --webui-port "${SPARK_MASTER_WEBUI_PORT:-8080}"
