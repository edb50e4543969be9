"""The command line: finds the verb, runs it, and turns errors into one screen."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from onestack.cli import output
from onestack.model import errors

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "0.1.0"
INSIDE = "ONESTACK_SHELL"
"""Set in a shell inside a cloud's own network (`onestack.cli.shell`): the cloud's name."""


@dataclass(frozen=True)
class Verb:
    """``bare`` verbs need nothing but the standard library; ``root`` ones must be root.

    ``outside`` ones work on the machine, which is not to be seen from inside a cloud's network.
    """

    help: str
    bare: bool = False
    root: bool = True
    outside: bool = False
    module: str = ""


VERBS: dict[str, Verb] = {
    "up": Verb("make the cloud, or bring it to what the answers say", outside=True),
    "down": Verb("stop the cloud; everything in it stays", outside=True),
    "destroy": Verb("take the cloud and all that was made for it off the machine", outside=True),
    "status": Verb("one sentence for each process"),
    "restart": Verb("restart a component, or one of its processes", outside=True),
    "logs": Verb("show logs"),
    "doctor": Verb("find out what is wrong, and what would mend it", outside=True),
    "verify": Verb(
        "try whether the cloud works; --end-to-end makes a server, --tempest runs upstream's tests",
        outside=True,
    ),
    "answers": Verb("show, check or write answers", bare=True, root=False),
    "openrc": Verb("print the administrator's environment for a shell", bare=True, root=False),
    "shell": Verb("a shell, or a command, inside the cloud's network as its administrator"),
    "blame": Verb("where the time of the last `up` went", bare=True, root=False),
    "pool": Verb("show the pool of volumes, or let it grow", outside=True),
    "nic": Verb("have a NIC of the machine's carry the cloud's networks, too", outside=True),
    "net": Verb("show how the networks are wired, from the outside to each port", outside=True),
    "token": Verb("what other machines join this cloud with: make, list, revoke", outside=True),
    "join": Verb("make this machine a host of a cloud that is elsewhere", outside=True),
    "leave": Verb("take this host out of its cloud, and all of it off the machine", outside=True),
    "host": Verb("the cloud's hosts: list, show, drain, undrain, evacuate, remove", outside=True),
    "image": Verb("build the images of guests: the test guest, machines of services"),
}


def usage() -> str:
    """The text of ``onestack --help``."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())
    return (
        "usage: onestack VERB [OPTION]...\n\n"
        "A real OpenStack cloud on this machine: `onestack up`.\n\n"
        f"{verbs}\n\n"
        "`onestack VERB --help` tells a verb's options.\n"
        "Exit: 0 done, 1 failed, 2 bad usage or answers, 3 refused by the preflight checks."
    )


def verb_module(name: str) -> ModuleType:
    return importlib.import_module(f"onestack.cli.{VERBS[name].module or name}")


def parse(argv: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """The verb and its options. Ends the program for ``--help`` and bad usage."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        output.say(usage())
        raise SystemExit(0 if argv else 2)
    if argv[0] in ("--version", "version"):
        output.say(f"onestack {VERSION}")
        raise SystemExit(0)
    name = argv[0]
    if name not in VERBS:
        import difflib

        near = difflib.get_close_matches(name, VERBS, 1)
        raise errors.BadAnswers(
            f"{name!r} is not a verb of onestack",
            "options are written after the verb" if name.startswith("-") else "",
            f"did you mean `onestack {near[0]}`?" if near else "see onestack --help",
        )
    module = verb_module(name)
    parser = argparse.ArgumentParser(
        prog=f"onestack {name}", description=module.__doc__, allow_abbrev=False
    )
    module.options(parser)
    args = parser.parse_args(argv[1:])
    if VERBS[name].outside:
        need_outside(name)
    return name, args


def need_outside(name: str) -> None:
    if cloud := os.environ.get(INSIDE):
        raise errors.BadAnswers(
            f"`onestack {name}` was typed inside the shell of the cloud {cloud!r}",
            "it works on the machine, of which that shell sees only the cloud's own network",
            "exit, and type it there",
        )


def need_root(name: str) -> None:
    if os.geteuid() != 0:
        raise errors.PreflightRefused(
            f"`onestack {name}` must be run by root",
            "it works with the machine's users, network and devices",
            f"sudo ./onestack {name} …",
        )


def run(argv: Sequence[str]) -> int:
    """Carry out a command line; returns the exit code. `OnestackError` passes through."""
    name, args = parse(argv)
    if VERBS[name].root and name != "up":
        need_root(name)  # up's own preflight says it, together with all else
    return int(verb_module(name).run(args))


def guarded(work: Callable[[], int], again: str) -> int:
    """Run ``work``; errors become one screen and an exit code, never a traceback."""
    try:
        return work()
    except errors.OnestackError as problem:
        show(problem)
        return problem.exit_code
    except KeyboardInterrupt:
        output.note(
            f"\nonestack: interrupted; nothing is lost, run the same command again: {again}"
        )
        return 1
    except BrokenPipeError:
        # The reader of our output has gone (`onestack logs | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as problem:  # noqa: BLE001
        show(errors.no_room(problem) or errors.Defect(problem))
        return 1


def show(problem: errors.OnestackError) -> None:
    """One screen. The traceback of an error of ours goes to a file, which the screen names."""
    if problem.traceback:
        place = keep(problem.traceback)
        why = f"{problem.why}\nthe traceback is in {place}" if place else problem.traceback
        problem = errors.OnestackError(problem.what, why, problem.cure)
    output.error(problem)


def keep(traceback: str) -> Path | None:
    """Write it to ``ROOT/log/onestack.log``, or beside where there is no cloud: the file."""
    import tempfile
    import time
    from pathlib import Path

    entry = f"{time.strftime('%Y-%m-%d %H:%M:%S%z')} onestack\n{traceback}\n"
    for folder in (log_folder(sys.argv[1:]), Path(tempfile.gettempdir())):
        place = folder / ("onestack.log" if folder.name == "log" else f"onestack-{os.getpid()}.log")
        try:
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError:
            continue
        try:
            with os.fdopen(handle, "a", encoding="utf-8") as file:
                file.write(entry)
        except OSError:
            continue  # the disk is full
        return place
    return None


def log_folder(argv: Sequence[str]) -> Path:
    """``ROOT/log`` of the cloud that a command line is about, as well as it can be told."""
    from pathlib import Path

    from onestack.model.cloud import Cloud

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--name", default="onestack")
    parser.add_argument("--root", type=Path)
    try:
        known, _ = parser.parse_known_args(list(argv))
        return Cloud.named(known.name, known.root).log
    except (argparse.ArgumentError, errors.OnestackError, SystemExit, OSError):
        return Path("/nonexistent/log")


def main() -> int:
    argv = sys.argv[1:]
    return guarded(lambda: run(argv), " ".join(["onestack", *argv]))


if __name__ == "__main__":
    sys.exit(main())
