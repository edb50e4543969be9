"""The cloud's hosts: listed, shown, drained, evacuated, removed. On the controller."""

from __future__ import annotations

import argparse

from onestack.cli import lock, output
from onestack.cli.hosts_of import Doorkeeper
from onestack.cli.options import cloud_of, cloud_options, json_option, yes_option
from onestack.cluster.following import Condition
from onestack.cluster.membership import Member, NotAMember
from onestack.components.door.follower import conditions
from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    shown = what.add_parser("list", help="all of them", allow_abbrev=False)
    show = what.add_parser("show", help="one of them", allow_abbrev=False)
    remove = what.add_parser(
        "remove", help="lock one out for good: its certificates and accounts", allow_abbrev=False
    )
    drain = what.add_parser(
        "drain",
        help="move its servers to other hosts, running or stopped, and let no more come",
        allow_abbrev=False,
    )
    undrain = what.add_parser("undrain", help="let servers come again", allow_abbrev=False)
    evacuate = what.add_parser(
        "evacuate",
        help="make the servers of a host that is dead anew elsewhere, from their images",
        allow_abbrev=False,
    )
    for one in (show, drain, undrain, evacuate, remove):
        one.add_argument("host", metavar="NAME")
    for one in (shown, show, drain, undrain, evacuate, remove):
        cloud_options(one)
    for one in (shown, show):
        json_option(one)
    for one in (evacuate, remove):
        yes_option(one)


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    lock.need_fit(cloud, "host")
    keeper = Doorkeeper.of(cloud)
    if args.what == "remove":
        return removed(cloud, keeper, args.host, args.yes)
    if args.what in ("drain", "undrain", "evacuate"):
        # Imported late: it brings what asks nova.
        from onestack.cli import moving

        return moving.run(cloud, args)
    if args.what == "show":
        name = keeper.hosts.member(args.host).name
        (found,) = (facts(one, at) for one, at in conditions(cloud) if one.name == name)
        if args.json:
            output.as_json(found)
        else:
            output.table(
                ("WHAT", "VALUE"),
                [(name, _text(value)) for name, value in found.items()],
            )
        return 0
    known = conditions(cloud)
    if args.json:
        output.as_json([facts(one, at) for one, at in known])
    else:
        rows = [(m.name, ",".join(m.roles), m.address, at.sentence) for m, at in known]
        own = (keeper.controller, "controller", keeper.address, "is this machine")
        output.table(("NAME", "ROLES", "ADDRESS", "STATE"), [own, *rows])
    return 0


def removed(cloud: Cloud, keeper: Doorkeeper, name: str, yes: bool) -> int:
    """It is locked out at the door at once; `up` ends its accounts and what it has open.

    Typed again for one that went, it does the second part: the first run may have been killed.
    """
    try:
        one = keeper.hosts.member(name)
    except NotAMember:
        if not keeper.hosts.was_removed(name):
            raise
        output.say(f"{name} was removed already.")
    else:
        if not output.confirm(f"Remove the host {one.name!r}, with what runs there?", yes):
            raise BadAnswers(
                f"the host {one.name!r} was not removed",
                "its guests would be cut off from the cloud",
                f"move them first (onestack host drain {one.name}), or say so with --yes",
            )
        keeper.hosts.remove(one.name)
        output.say(f"{one.name} is let in no more.")
    output.say("What it has open ends, and its accounts go, by `onestack up`, now:")
    # Imported late: it brings all components.
    from onestack.cli import main

    where = ["--name", cloud.name, "--root", str(cloud.root)]
    code = main.run(["up", "--wait", *where])
    for one, at in conditions(cloud):
        if at.word in ("current", "following"):
            output.say(f"{one.name} refuses it, too, within a minute, by itself.")
        else:
            output.say(f"{one.name} does not know of it yet: it {at.sentence}.")
    return code


def facts(one: Member, at: Condition) -> dict[str, object]:
    """For scripts and people; nothing of it is a secret."""
    return {
        "name": one.name,
        "number": one.number,
        "roles": list(one.roles),
        "address": one.address,
        "identity": one.identity,
        "joined": output.when(one.joined),
        "admitted": one.admitted,
        "certificate_ends": output.when(one.certificates[-1].ends),
        "state": at.word,
        "problem": at.problem,
    }


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
