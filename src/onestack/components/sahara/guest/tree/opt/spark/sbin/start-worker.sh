#!/bin/bash
# A worker on this machine, for the master that conf/spark-env.sh names.
export SPARK_HOME=/opt/spark
. $SPARK_HOME/bin/load-spark-env.sh
exec $SPARK_HOME/sbin/spark-daemon.sh start org.apache.spark.deploy.worker.Worker 1 \
    --host "$(hostname)" ${SPARK_WORKER_PORT:+--port "$SPARK_WORKER_PORT"} \
    --webui-port "${SPARK_WORKER_WEBUI_PORT:-8081}" \
    "spark://$SPARK_MASTER_HOST:$SPARK_MASTER_PORT"
