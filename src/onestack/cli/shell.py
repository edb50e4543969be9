"""A shell inside the cloud: its network, its namespaces' names, its administrator."""

from __future__ import annotations

import argparse
import os
import shlex

from onestack.cli.main import INSIDE
from onestack.cli.options import cloud_of, cloud_options
from onestack.model.errors import OnestackError
from onestack.supervise.client import Client


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)
    parser.add_argument(
        "command", nargs="*", metavar="COMMAND", help="a command instead of a shell, after --"
    )


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    openrc = cloud.etc / "admin-openrc"
    if not Client(cloud).running() or not openrc.is_file():
        raise OnestackError(
            f"the cloud {cloud.name!r} is not up",
            "there is nothing to be inside of",
            "onestack up first",
        )
    inside = shlex.join(args.command) if args.command else os.environ.get("SHELL", "/bin/sh")
    words = ["sh", "-c", f". {shlex.quote(str(openrc))}; exec {inside}"]
    if cloud.netns:
        os.environ[INSIDE] = cloud.name
        # The supervisor's own view: there `ip netns` lists this cloud's namespaces only.
        pid = (cloud.run / "supervisor" / "lock").read_text().strip()
        words = ["nsenter", "--target", pid, "--net", "--mount", f"--wdns={os.getcwd()}", *words]
    os.execvp(words[0], words)
