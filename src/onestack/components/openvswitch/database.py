"""Database files of ovsdb-server: made, and brought to the schema of what runs now."""

from __future__ import annotations

from pathlib import Path

from onestack.components.openvswitch.distribution import Distribution


def prepare(made: Distribution, path: Path, schema: str, user: str) -> tuple[str, ...]:
    """A command for before the server's start: the database ``path`` with ``schema``.

    ``schema`` is ``vswitch``, ``ovn-nb`` or ``ovn-sb``. A new database comes
    into its place whole; one of another version is converted, as ovs-ctl does.
    """
    tool, file = made.program("ovsdb-tool"), made.schema(schema)
    script = f"""set -eu
if [ ! -e {path} ]; then
    rm -f {path}.new {path.parent}/.{path.name}.new.~lock~
    {tool} create {path}.new {file}
    mv {path}.new {path}
    rm -f {path.parent}/.{path.name}.new.~lock~
elif [ "$({tool} needs-conversion {path} {file})" = yes ]; then
    echo "{path.name} is converted to another version of its schema"
    {tool} convert {path} {file}
fi
"""
    return as_user(user, "/bin/sh", "-c", script)


def as_user(user: str, *words: str) -> tuple[str, ...]:
    """The command, run by root, as ``user`` and with its group alone."""
    return ("setpriv", "--reuid", user, "--regid", user, "--clear-groups", *words)


def shared(*words: str) -> tuple[str, ...]:
    """The command, with sockets and files that its group may use as it does itself."""
    return ("/bin/sh", "-c", 'umask 007; exec "$@"', words[0], *words)
