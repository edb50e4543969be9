#!/bin/bash
export SPARK_HOME=/opt/spark
. $SPARK_HOME/bin/load-spark-env.sh
exec $SPARK_HOME/sbin/spark-daemon.sh stop org.apache.spark.deploy.master.Master 1
