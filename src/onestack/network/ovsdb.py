"""ovsdb-server and its database files: made, and brought to the schema of what runs now."""

from __future__ import annotations

from pathlib import Path

from onestack.model.context import Context
from onestack.model.declarations import ConfigFile
from onestack.model.process import ConnectProbe
from onestack.network.distribution import distribution

QUIET = ("-vconsole:info", "-vsyslog:off", "-vfile:off")
"""Where the daemons of Open vSwitch and OVN log: to the supervisor alone."""

SCRIPT = """# ovsdb-tool, a database, its schema: there, and of this version
set -eu
tool=$1 path=$2 schema=$3
if [ ! -e "$path" ]; then
    # its lock is beside it; the new one comes into its place whole
    new=$(mktemp -d "$path.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    "$tool" create "$new/db" "$schema"
    mv "$new/db" "$path"
elif [ "$("$tool" needs-conversion "$path" "$schema")" = yes ]; then
    echo "$path is converted to another version of its schema"
    "$tool" convert "$path" "$schema"
fi
"""


def script(ctx: Context) -> ConfigFile:
    """As ovs-ctl does it; for the users of several components."""
    return ConfigFile(_place(ctx), SCRIPT, mode=0o644)


def prepare(ctx: Context, path: Path, schema: str, user: str) -> tuple[str, ...]:
    """A command for before the server's start: the database ``path`` with ``schema``.

    ``schema`` is ``vswitch``, ``ovn-nb`` or ``ovn-sb``.
    """
    made = distribution(ctx)
    words = (made.program("ovsdb-tool"), str(path), made.schema(schema))
    return as_user(user, "/bin/sh", str(_place(ctx)), *words)


def answers(socket: Path | str) -> ConnectProbe:
    """Whether the server at ``socket`` echoes, as its clients ask it now and then."""
    echo = '{"id": "probe", "method": "echo", "params": []}'
    return ConnectProbe(f"unix:{socket}", say=echo, hear='"result":[]', seconds=20)


def _place(ctx: Context) -> Path:
    return ctx.cloud.etc / "openvswitch" / "database.sh"


def as_user(user: str, *words: str) -> tuple[str, ...]:
    """The command, run by root, as ``user`` and with its group alone."""
    return ("setpriv", "--reuid", user, "--regid", user, "--clear-groups", *words)


def shared(*words: str) -> tuple[str, ...]:
    """The command, with sockets and files that its group may use as it does itself."""
    return ("/bin/sh", "-c", 'umask 007; exec "$@"', words[0], *words)
