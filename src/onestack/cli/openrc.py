"""Print the administrator's environment: ``eval "$(onestack openrc)"``."""

from __future__ import annotations

import argparse

from onestack.cli import output
from onestack.cli.options import cloud_of, cloud_options
from onestack.model.errors import OnestackError


def options(parser: argparse.ArgumentParser) -> None:
    cloud_options(parser)


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    path = cloud.etc / "admin-openrc"
    try:
        text = path.read_text(encoding="utf-8")
    except PermissionError as problem:
        raise OnestackError(
            f"{path} cannot be read", "it holds the administrator's password", "run it as root"
        ) from problem
    except FileNotFoundError as problem:
        raise OnestackError(
            f"the cloud {cloud.name!r} has no credentials yet",
            f"there is no {path}",
            "make the cloud first: onestack up",
        ) from problem
    output.say(text.rstrip("\n"))
    return 0
