"""Starts dnsmasq, haproxy, radvd and keepalived in neutron's network namespaces.

Upstream does its privileged work in privsep daemons, except for this one
kind, for which it still puts a ``root_helper`` (sudo, rootwrap) before the
command. Here that helper is `as_root`, which asks this process, running as
root. It takes commands from neutron's user only, and only those that match
`refusal`. (neutron's user is no more powerful by it: upstream's privsep
context lets it run commands as root in any case.)

What it started does not end with it, so that restarts of neutron leave
guests their DHCP and metadata; the supervisor ends it with the cloud.

A program of its own, of the standard library alone (``python -IS``): it does
next to nothing, and is to be small. Its listening socket is descriptor 3.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

MARK = "ONESTACK_SUPERVISED"
"""`onestack.kernel.proc.ROOT_VARIABLE`."""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = ("dnsmasq", "haproxy", "radvd", "keepalived")
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NAMESPACE = re.compile(rf"(qdhcp|qrouter|snat|fip|ovnmeta)-{_UUID}")
_TAG = re.compile(rf"PROCESS_TAG=[a-z-]+-{_UUID}[\w.-]*")
_MOST = 1 << 20  # bytes of a request


def refusal(command: Sequence[str]) -> str | None:
    """Why ``command`` is not one that upstream starts in a namespace; ``None`` if it is."""
    if tuple(command[:3]) != ("ip", "netns", "exec"):
        return f"only commands in network namespaces are run as root, not {command[:1]}"
    namespace, *rest = command[3:] or [""]
    if not NAMESPACE.fullmatch(namespace):
        return f"{namespace!r} is no network namespace of neutron's"
    if rest[:1] == ["env"]:
        rest = rest[1:]
        while rest and "=" in rest[0]:
            if not _TAG.fullmatch(rest[0]):
                return f"the variable {rest[0].partition('=')[0]} may not be set as root"
            rest = rest[1:]
    if rest[:1] and rest[0] in _PROGRAMS:
        return None
    return f"{rest[:1]} is none of {', '.join(_PROGRAMS)}"


def serve(door: socket.socket, user: str, notes: str) -> None:
    """Answer requests at the listening socket ``door``, for ever.

    In the folder ``notes`` a file is made for each namespace, for `undo`.
    """
    account = pwd.getpwnam(user)
    path = door.getsockname()
    os.chown(path, 0, account.pw_gid)
    os.chmod(path, 0o660)
    while True:
        connection, _ = door.accept()
        threading.Thread(
            target=_answer, args=(connection, account.pw_uid, notes), daemon=True
        ).start()


def _answer(connection: socket.socket, uid: int, notes: str) -> None:
    files: list[int] = []
    with connection:
        try:
            peer = struct.unpack(
                "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            )
            command, files = _request(connection)
            if not command:
                return  # a probe: it only wanted to know whether anybody answers
            if peer[1] not in (0, uid):
                answer: dict[str, str | int] = {"refused": f"user {peer[1]} may not ask for this"}
            elif wrong := refusal(command):
                answer = {"refused": wrong}
            else:
                with open(os.path.join(notes, command[3]), "a"):
                    answer = {"code": _run(command, files)}
            if "refused" in answer:
                say(f"{command}: refused: {answer['refused']}")
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except (OSError, ValueError) as error:
            say(f"a request could not be answered: {error}")
        finally:
            for number in files:
                os.close(number)


def _request(connection: socket.socket) -> tuple[list[str], list[int]]:
    """The command and the three open files that came with it; nothing from who says nothing.

    Raises `ValueError`.
    """
    connection.settimeout(10)
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    if not head:
        return [], files
    try:
        size = int.from_bytes(head, "big")
        if len(head) != 4 or len(files) != 3 or size > _MOST:
            raise ValueError("not a request")
        body = b""
        while len(body) < size and (part := connection.recv(size - len(body))):
            body += part
        command = json.loads(body)
        if not isinstance(command, list) or not all(isinstance(part, str) for part in command):
            raise ValueError("not a command")
    except ValueError:
        for number in files:
            os.close(number)
        raise
    return command, files


def _run(command: list[str], files: list[int]) -> int:
    say(f"running {' '.join(command)}")
    # A session of its own, marked as the cloud's and as no process of its roster: it
    # outlives this process and the agent that asked for it, and not the cloud.
    mark = {MARK: os.environ[MARK]}
    return subprocess.run(
        command,
        stdin=files[0],
        stdout=files[1],
        stderr=files[2],
        env={"PATH": PATH, "LC_ALL": "C", **mark},
        cwd="/",
        start_new_session=True,
        check=False,
    ).returncode


def say(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=3), *sys.argv[1:])
