"""``python -m onestack.supervise --roster FILE [--foreground] [--start-all]``."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from pathlib import Path
from typing import IO

from onestack.kernel import linux, namespaces, proc
from onestack.model.process import Roster
from onestack.supervise import sockets
from onestack.supervise.loop import log
from onestack.supervise.systemd import ENVIRONMENT, Notifier, asked_for_none


def main() -> None:
    parser = argparse.ArgumentParser(prog="onestack.supervise", description=__doc__)
    parser.add_argument("--roster", type=Path, required=True, help="what there is to supervise")
    parser.add_argument("--start-all", action="store_true", help="start every process at once")
    parser.add_argument("--foreground", action="store_true", help="log to the terminal")
    parser.add_argument("--ready-fd", type=int, default=-1, help="closed once clients may come")
    options = parser.parse_args()
    try:
        roster = Roster.from_file(options.roster)
    except (OSError, ValueError) as error:
        raise SystemExit(f"the roster {options.roster} cannot be read: {error!r}") from None
    root = Path(roster.root)
    _have_environment(root)
    for place in (root / "run" / "supervisor", root / "log"):
        place.mkdir(parents=True, exist_ok=True)
    lock = _lock(root / "run" / "supervisor" / "lock")
    if not options.foreground:
        _detach(root / "log" / "supervisor.log")
    os.chdir("/")
    linux.become_subreaper()
    if name := roster.identity.get("host"):
        # Many ask the kernel, and not all can be told otherwise (libvirt, for one): to them
        # all the host is called as in the cloud's databases, whatever becomes of the machine's.
        try:
            namespaces.own_hostname(name)
        except OSError as error:
            log(f"processes see the machine's own hostname: {error.strerror}")
    if roster.netns:
        _enter(roster.netns, root / "run" / "netns")
    _clean(root)

    from onestack.supervise.supervisor import Supervisor

    supervisor = Supervisor(options.roster.resolve(), roster, Notifier())
    supervisor.listen()
    if options.ready_fd >= 0:
        os.close(options.ready_fd)
    supervisor.run(options.start_all and not asked_for_none(root))
    sys.stderr.flush()
    # nothing of what was imported has anything to do at the end
    os._exit(0 if lock else 1)


def _clean(root: Path) -> None:
    """Nothing is left of a supervisor that was killed."""
    leftovers = proc.end_leftovers(root)
    if leftovers:
        log(f"ended {len(leftovers)} leftovers of a killed supervisor:")
        for leftover in leftovers:
            log(f"  {leftover}")
    for path in sockets.remove_stale(root / "run"):
        log(f"removed the stale socket {path}")


def _enter(netns: str, names: Path) -> None:
    try:
        trouble = namespaces.enter_network_namespace(netns, names)
    except OSError as error:
        raise SystemExit(f"the network namespace {netns}: {error}") from None
    if trouble:
        log(trouble)


def _have_environment(root: Path) -> None:
    """Execute this program again unless its environment marks it as this cloud's.

    Children inherit the mark; a later supervisor finds by it what a killed
    one left behind.
    """
    wanted = ENVIRONMENT | {proc.ROOT_VARIABLE: str(root)}
    if all(os.environ.get(name) == value for name, value in wanted.items()):
        return
    words = [sys.executable, "-m", "onestack.supervise", *sys.argv[1:]]
    os.execve(sys.executable, words, dict(os.environ) | wanted)


def _lock(path: Path) -> IO[str]:
    """Held as long as this process lives; unlike flock, children do not inherit it."""
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        raise SystemExit(
            f"a supervisor of {path.parents[2]} is running already, pid {holder}"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _detach(path: Path) -> None:
    """Leave the terminal: a session of its own, output to the log."""
    if os.getsid(0) != os.getpid() and os.getpgrp() != os.getpid():
        os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    for descriptor, number in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    os.close(null)
    os.close(output)


if __name__ == "__main__":
    main()
