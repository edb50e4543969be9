"""Tokens by which other machines join this cloud: made, listed, revoked. On the controller."""

from __future__ import annotations

import argparse
import re
import time

from onestack.cli import lock, output
from onestack.cli.hosts_of import Doorkeeper
from onestack.cli.options import cloud_of, cloud_options, json_option
from onestack.cluster.client import Place
from onestack.cluster.membership import Invitation
from onestack.model.errors import BadAnswers
from onestack.model.host import Role

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = 7 * UNITS["d"]
ROLES = (Role.COMPUTE.value,)
"""What a host may join as."""


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    create = what.add_parser("create", help="make one, good once", allow_abbrev=False)
    create.add_argument("--role", choices=ROLES, default=ROLES[0], help="what the host is for")
    create.add_argument("--host", default="", metavar="NAME", help="for a host of that name alone")
    create.add_argument("--ttl", default="1h", help="how long it is good: 30m, 2h, 1d (default 1h)")
    shown = what.add_parser("list", help="those that are known", allow_abbrev=False)
    revoke = what.add_parser("revoke", help="take one back", allow_abbrev=False)
    revoke.add_argument("id", help="as `onestack token list` shows it")
    for one in (create, shown, revoke):
        cloud_options(one)
    for one in (create, shown):
        json_option(one)


def run(args: argparse.Namespace) -> int:
    cloud = cloud_of(args)
    lock.need_fit(cloud, "token")
    keeper = Doorkeeper.of(cloud)
    if args.what == "create":
        seconds = lasting(args.ttl)
        token = keeper.hosts.invite(keeper.digest, args.role, args.host, seconds)
        place = str(Place(keeper.address))
        if args.json:
            ends = time.time() + seconds
            output.as_json({"token": str(token), "id": token.id, "door": place, "ends": ends})
        else:
            output.note(f"For one machine, within {args.ttl}, as root there:")
            output.say(f"onestack join {place} {token}")
        return 0
    if args.what == "revoke":
        keeper.hosts.withdraw(args.id)
        output.say(f"The token {args.id} is good no more.")
        return 0
    known = keeper.hosts.document().invitations
    if args.json:
        output.as_json([facts(one) for one in known])
    else:
        output.table(
            ("ID", "ROLE", "HOST", "STATE"),
            [(one.id, one.role, one.name or "any", state(one)) for one in known],
        )
    return 0


def lasting(text: str) -> float:
    """``1h`` -> seconds. Raises `BadAnswers`."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 60 <= seconds <= LONGEST:
        raise BadAnswers(
            f"--ttl {text} is not how long a token can be good",
            "from a minute to seven days",
            "write it as 30m, 2h or 1d",
        )
    return float(seconds)


def state(one: Invitation) -> str:
    """For people."""
    if one.used:
        return f"used by {one.used_by}, {output.when(one.used)}"
    return f"{'good until' if one.ends > time.time() else 'ended'} {output.when(one.ends)}"


def facts(one: Invitation) -> dict[str, object]:
    """For scripts; nothing that lets anybody in."""
    return {
        "id": one.id,
        "role": one.role,
        "host": one.name or None,
        "ends": one.ends,
        "used": one.used or None,
        "used_by": one.used_by or None,
    }
