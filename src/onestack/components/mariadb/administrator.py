"""The administrator's account and password, for those who want one beside unix user root."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from onestack.components.mariadb.sql import connect
from onestack.model.change import Change
from onestack.model.context import Context

_PASSWORD = re.compile(r"\*[0-9A-F]{40}")
_EVERYTHING = "ALL PRIVILEGES ON *.*"


def ensure_administrator(ctx: Context) -> Iterator[Change]:
    """CONFIG_MARIADB_USER may do everything with its password; unix user root always may."""
    user = str(ctx.answers["CONFIG_MARIADB_USER"])
    given = ctx.answers["CONFIG_MARIADB_PW"] or ctx.answers["CONFIG_DEFAULT_PASSWORD"]
    with connect(ctx.cloud) as server, server.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM mysql.user WHERE User = %s", (user,))
        present = ""
        if (cursor.fetchone() or (0,))[0]:
            for what in ("CREATE USER", "GRANTS FOR"):
                cursor.execute(f"SHOW {what} %s@'localhost'", (user,))
                present += "\n".join(str(row[0]) for row in cursor.fetchall())
    if user == "root" and not given:
        if _PASSWORD.search(present):
            yield Change(
                "take root's password at the database server away: none is given any more",
                lambda: _take(ctx),
            )
        return
    password = native(ctx.secrets["mariadb"])
    if password not in present or _EVERYTHING not in present:
        yield Change(
            f"give the database server's administrator {user} a password",
            lambda: _put(ctx, user, password),
        )


def _take(ctx: Context) -> None:
    with connect(ctx.cloud) as server, server.cursor() as cursor:
        cursor.execute("ALTER USER root@'localhost' IDENTIFIED VIA unix_socket")


def native(password: str) -> str:
    """As the server keeps it: the plain one appears in no statement."""
    once = hashlib.sha1(password.encode()).digest()
    return f"*{hashlib.sha1(once).hexdigest().upper()}"


def _put(ctx: Context, user: str, password: str) -> None:
    way = "mysql_native_password USING %s"
    if user == "root":
        way = f"unix_socket OR {way}"
    with connect(ctx.cloud) as server, server.cursor() as cursor:
        cursor.execute(
            f"CREATE USER IF NOT EXISTS %s@'localhost' IDENTIFIED VIA {way}", (user, password)
        )
        cursor.execute(f"ALTER USER %s@'localhost' IDENTIFIED VIA {way}", (user, password))
        cursor.execute(f"GRANT {_EVERYTHING} TO %s@'localhost' WITH GRANT OPTION", (user,))
