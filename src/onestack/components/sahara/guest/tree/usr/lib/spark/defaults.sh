# For small machines, and for processors that are emulated; sourced by bin/load-spark-env.sh after
# conf/spark-env.sh, which sahara writes. What is set there, or in a job, stays.
. /etc/profile.d/99-java.sh
export SPARK_DAEMON_MEMORY=${SPARK_DAEMON_MEMORY:-256m}
export SPARK_WORKER_MEMORY=${SPARK_WORKER_MEMORY:-768m}
export SPARK_DRIVER_MEMORY=${SPARK_DRIVER_MEMORY:-512m}
export SPARK_EXECUTOR_MEMORY=${SPARK_EXECUTOR_MEMORY:-512m}
export SPARK_MASTER_HOST=${SPARK_MASTER_HOST:-${SPARK_MASTER_IP:-$(hostname)}}
export SPARK_MASTER_PORT=${SPARK_MASTER_PORT:-7077}
export SPARK_PID_DIR=${SPARK_PID_DIR:-/opt/spark/run}
export SPARK_LOG_DIR=${SPARK_LOG_DIR:-/opt/spark/logs}
export PYSPARK_PYTHON=${PYSPARK_PYTHON:-python3}
export JDK_JAVA_OPTIONS=${JDK_JAVA_OPTIONS:--XX:TieredStopAtLevel=1 -XX:+UseSerialGC}
