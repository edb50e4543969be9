"""Run in the clients' environment: commands, given as JSON, read by the clients' own parsers.

Prints as JSON what clients would refuse, with their words. Nothing is asked of any server.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import json
import sys
from unittest import mock


class Refused(Exception):
    """The client does not have the command at all."""


@functools.cache
def commands(prefix: str, but: tuple[str, ...] = ()) -> dict[str, importlib.metadata.EntryPoint]:
    """Classes, by name, of groups with that prefix: the last one's where several have the name.

    Those of modules that begin with one of ``but`` do not count.
    """
    entries = importlib.metadata.entry_points()
    groups = sorted(group for group in entries.groups if group.startswith(prefix))
    points = [point for group in groups for point in entries.select(group=group)]
    return {
        point.name: point
        for point in points
        if ":" in point.value and not point.module.startswith(but)
    }


def openstack(words: list[str]) -> None:
    """As the shell finds them: by the longest name; of two versions of an API the later one's."""
    # what was a plugin's once, and is the shell's own now
    from openstackclient.shell import IGNORED_MODULES as moved

    # The shell's own, each with a value.
    while words and words[0].startswith("--os-"):
        words = words[2:]
    known = commands("openstack.", moved)
    names = [word.replace("-", "_") for word in words]
    for length in range(len(words), 0, -1):
        if found := known.get("_".join(names[:length])):
            command = found.load()(mock.MagicMock(), None)
            command.get_parser("openstack").parse_args(words[length:])
            return
    raise Refused("there is no such command")


def neutron(words: list[str]) -> None:
    """It hands to the server what it does not know: such are none of what is printed."""
    if not (found := commands("neutron.cli.v2").get(words[0])):
        raise Refused("there is no such command")
    command = found.load()(mock.MagicMock(), None)
    _, unknown = command.get_parser("neutron").parse_known_args(words[1:])
    if unknown := [word for word in unknown if not word.startswith(("--provider:", "--router:"))]:
        raise Refused(f"{unknown} goes to the server as it is")


def nova(words: list[str]) -> None:
    import novaclient
    from novaclient import shell

    parser = shell.OpenStackComputeShell()
    parser.extensions = []
    parser.get_subcommand_parser(novaclient.API_MAX_VERSION, argv=words).parse_args(words)


def cinder(words: list[str]) -> None:
    from cinderclient import api_versions, shell

    parser = shell.OpenStackCinderShell()
    parser.extensions = []
    version = api_versions.APIVersion(api_versions.MAX_VERSION)
    parser.get_subcommand_parser(version, input_args=words).parse_args(words)


def glance(words: list[str]) -> None:
    from glanceclient import shell

    shell.OpenStackImagesShell().get_subcommand_parser(2, argv=words).parse_args(words)


CLIENTS = {f.__name__: f for f in (openstack, neutron, nova, cinder, glance)}


def refused(program: str, words: list[str]) -> str:
    """Why; empty where it is not."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            CLIENTS[program](words)
    except Refused as error:
        return str(error)
    except SystemExit as end:
        lines = said.getvalue().splitlines()
        return next((line for line in lines if "error: " in line), "refused") if end.code else ""
    return ""


if __name__ == "__main__":
    wrong = []
    for program, *words in json.load(sys.stdin):
        if why := refused(program, words):
            wrong.append(f"{program} {' '.join(words)}: {why}")
    json.dump(wrong, sys.stdout)
