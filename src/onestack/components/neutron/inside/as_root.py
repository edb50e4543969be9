"""neutron's ``root_helper``: asks `spawner` to run a command, and is it for its caller.

``as_root.py SOCKET COMMAND…`` passes its own standard input, output and error
along, and ends with the command's exit code. A program of its own, started
without this package (``python -IS``), because neutron starts it for each
dnsmasq, haproxy and radvd.
"""

from __future__ import annotations

import array
import json
import socket
import sys

REFUSED = 126


def main(arguments: list[str]) -> int:
    path, *command = arguments
    request = json.dumps(command).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        try:
            door.connect(path)
        except OSError as error:
            print(f"the process that starts commands as root is away: {error}", file=sys.stderr)
            return REFUSED
        door.sendmsg(
            [len(request).to_bytes(4, "big")],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))],
        )
        door.sendall(request)
        answer = json.loads(door.makefile().readline() or "{}")
    if "refused" in answer:
        print(answer["refused"], file=sys.stderr)
        return REFUSED
    return int(answer.get("code", 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
