"""Connections to the cloud's own MariaDB as its administrator."""

from __future__ import annotations

import pymysql
from pymysql.connections import Connection

from onestack.model.cloud import Cloud
from onestack.model.errors import NotRunning


def connect(cloud: Cloud, database: str | None = None) -> Connection[pymysql.cursors.Cursor]:
    """A connection over the unix socket; the server knows us by our unix user, root.

    Raises `NotRunning` when the server does not answer.
    """
    socket = cloud.run / "mariadb" / "mariadb.sock"
    try:
        return pymysql.connect(
            unix_socket=str(socket),
            user="root",
            database=database,
            charset="utf8mb4",
            connect_timeout=10,
            ssl_disabled=True,
        )
    except pymysql.err.OperationalError as error:
        raise NotRunning(
            "MariaDB does not answer",
            str(error.args[-1]),
            "see `onestack logs mariadb`, then run up again",
        ) from error
