"""Make this machine a host of a cloud that is elsewhere; `onestack token create` there says how.

Interrupted anywhere, the same command goes on.
"""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path

from onestack.cli import lock
from onestack.cli.options import cloud_of, cloud_options, json_option
from onestack.cluster.client import Place
from onestack.cluster.tokens import JoinToken
from onestack.host.files import ensure_directory
from onestack.kernel.locks import held
from onestack.model.errors import BadAnswers


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("door", metavar="https://ADDRESS:9443", help="the cloud's door")
    parser.add_argument("token", help="the token, a file that holds it, or - for standard input")
    parser.add_argument("--host", default="", metavar="NAME", help="this host's name in the cloud")
    parser.add_argument("--address", default="", help="where the cloud's other hosts reach it")
    cloud_options(parser)
    json_option(parser)


def run(args: argparse.Namespace) -> int:
    from onestack.cli import main, screen
    from onestack.deploy.joining import joining
    from onestack.engine.progress import Progress
    from onestack.engine.runner import Runner
    from onestack.release.release import release

    cloud = cloud_of(args)
    lock.need_fit(cloud, "join")
    place, token = Place.read(args.door), read(args.token)
    name = args.host or socket.gethostname()
    address = args.address or own_address(place)
    wanted = joining(cloud, place, token, name, address, release().name)
    for change in (*ensure_directory(cloud.root), *ensure_directory(cloud.etc)):
        change.do()
    # Not the cloud's own lock: `up` takes that.
    with held(cloud.etc), screen.choose(args.json) as show:
        Runner(Progress([show])).execute(wanted.steps())
    further = ["--json"] if args.json else []
    # Joined already, it may be following its controller.
    return main.run(["up", "--wait", "--name", cloud.name, "--root", str(cloud.root), *further])


def read(text: str) -> JoinToken:
    """The token itself, or what is in the file, or on standard input. Raises `BadAnswers`."""
    if text == "-":
        return JoinToken.read(sys.stdin.readline())
    path = Path(text)
    if "/" in text or (len(text) < 100 and path.is_file()):
        try:
            return JoinToken.read(path.read_text(encoding="ascii"))
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise BadAnswers(f"{path} cannot be read", why or "") from None
    return JoinToken.read(text)


def own_address(place: Place) -> str:
    """This machine's on its way to the door. Raises `BadAnswers`."""
    try:
        family, _, _, _, target = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise BadAnswers(
            f"this machine has no way to {place.host}",
            error.strerror or str(error),
            "look at it: ip route; or say by which address it is reached: --address ADDRESS",
        ) from None
