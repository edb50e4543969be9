"""A Python process of another environment than the supervisor's, where no zygote has it.

It is a program, ``PYTHON -m onestack.supervise.standalone TITLE``, that calls the same
function as a fork would, with the same user, groups, sockets, log and environment. What
it is to be comes through its standard input (nothing of it is seen by ``ps``), its
sockets as sd_listen_fds(3) has them.
"""

from __future__ import annotations

import importlib
import os
import pickle
import socket
from dataclasses import replace

from onestack.kernel import linux
from onestack.supervise.child import Child, call, python_path, write_lines_at_once
from onestack.supervise.preload import NATIVE_THREADS
from onestack.supervise.systemd import ENVIRONMENT

FIRST = 3
"""Number of the first socket that is passed on."""
_PASSED_ON = ("PYTHONPATH", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", *ENVIRONMENT)
"""What only this program is told, and not the process that it becomes."""


def program(child: Child, python: str) -> Child:
    """``child``, which has a function to call, as a program of ``python``'s that calls it."""
    paths = (os.environ.get("PYTHONPATH"), child.env.get("PYTHONPATH"))
    return replace(
        child,
        argv=(python, "-m", __name__, child.title or child.name),
        env={
            "PATH": python_path(python),
            **ENVIRONMENT,
            **child.env,
            "PYTHONPATH": ":".join(filter(None, paths)),
        },
        input=pickle.dumps((replace(child, sockets={}), tuple(child.sockets))),
    )


def main() -> None:
    with open(0, "rb", closefd=False) as given:
        child, names = pickle.load(given)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    linux.set_title(child.title or child.name)
    for name in _PASSED_ON:
        os.environ.pop(name, None)
    os.environ.update(child.env)
    write_lines_at_once()
    sockets = {name: _socket(FIRST + number) for number, name in enumerate(names)}
    # A zygote, too, chooses them before anything else is imported.
    importlib.import_module(NATIVE_THREADS)
    call(replace(child, sockets=sockets))


def _socket(number: int) -> socket.socket:
    sock = socket.socket(fileno=number)
    sock.set_inheritable(False)
    return sock


if __name__ == "__main__":
    main()
