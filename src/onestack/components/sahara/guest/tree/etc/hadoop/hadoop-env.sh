# What sahara puts before these lines sets the sizes of heaps; it rewrites the two directories.
export HADOOP_LOG_DIR=/var/log/hadoop
export HADOOP_SECURE_DN_LOG_DIR=/var/log/hadoop
