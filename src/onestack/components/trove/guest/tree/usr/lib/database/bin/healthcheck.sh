#!/bin/sh
# Whether MariaDB answers. The name and the arguments, which are of no use here, are the agent's.
exec mariadb-admin --no-defaults --socket=/run/mysqld/mysqld.sock --connect-timeout=3 ping
