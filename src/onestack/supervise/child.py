"""Making a child: fork from a zygote, leave everything of the parent behind, become it.

A child tells its parent through a status pipe why it could not be set up;
the pipe closes without a word when the program was executed or the function
is about to be called.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import gc
import grp
import os
import pwd
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from onestack.kernel import limits, linux, namespaces, proc
from onestack.model.process import SERVICES
from onestack.supervise.logs import open_log

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HIGH = 300
"""Descriptors from here on are free in a child."""


@dataclass(frozen=True)
class Child:
    """``argv`` is executed; without one, ``call`` is called with the sockets.

    Its result is the exit code. Everything can be pickled, sockets apart, so
    that another zygote, or a program (`standalone`), can be asked for it.
    """

    name: str
    root: Path
    log: Path
    user: str = "root"
    groups: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    call: Callable[[dict[str, socket.socket]], int | None] | None = None
    sockets: dict[str, socket.socket] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    mounts: dict[str, str] = field(default_factory=dict)
    title: str = ""
    environment: str = SERVICES
    """The Python environment that ``call`` is called in."""
    zygote: str = ""
    """Where it is forked from for ``call``, if not from the supervisor."""
    input: bytes = b""
    """What a program finds at its standard input."""
    stdio: tuple[int, ...] = ()
    """Three open files to have as input, output and error, in place of ``input`` and the log."""


Fork = Callable[[Child], tuple[int, int]]
"""Starts a child; returns its pid and the reading end of its status pipe. Raises `OSError`."""


def fork(child: Child, release: Callable[[], None]) -> tuple[int, int]:
    """Start it; returns its pid and the status pipe's reading end.

    ``release`` is called in the child and closes the parent's own files.
    """
    status_in, status_out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # no signal may reach the parent's handlers in the child
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
    except OSError:
        os.close(status_in)
        os.close(status_out)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        raise
    if pid == 0:
        become(child, release, status_out)
    os.close(status_out)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return pid, status_in


def become(child: Child, release: Callable[[], None], status: int) -> NoReturn:
    """In a fresh fork, signals blocked: be that child."""
    try:
        try:
            release()
            # out of the way of the numbers that sockets get for a program
            status = fcntl.fcntl(status, fcntl.F_DUPFD_CLOEXEC, HIGH)
            _set_up(child, status)
            if child.argv:
                _execute(child)
        except Exception as error:  # noqa: BLE001
            os.write(status, _reason(child, error).encode()[:4000])
            os._exit(1)
        os.close(status)
        call(child)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        _leave(1)


def call(child: Child) -> NoReturn:
    """Run its function as a fresh program would be run, and end with its result."""
    code = 1
    try:
        code = _call(child)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    # the parent's exit handlers and threads are none of ours
    os._exit(code)


def _reason(child: Child, error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if isinstance(error, OSError):
        return error.strerror if error.errno and error.strerror else str(error)
    return str(error.args[0]) if error.args else repr(error)


def _set_up(child: Child, status: int) -> None:
    _reset_signals()
    os.setsid()
    uid, gid, groups, home = _identity(child)
    if child.stdio:
        for number, descriptor in enumerate(child.stdio):
            os.dup2(descriptor, number)
    else:
        _replace_stdio(child, uid, gid)
    _close_all_but({status, *(s.fileno() for s in child.sockets.values())})
    if child.mounts:
        namespaces.private_mounts(child.mounts)
    if not child.argv:
        linux.set_title(child.title or child.name)
    limits.raise_open_files()
    environment = _environment(child, home)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir("/")
    os.umask(0o022)
    if uid != 0:
        if child.capabilities:
            linux.keep_capabilities_over_setuid()
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if child.capabilities:
            linux.hold_capabilities(child.capabilities)
        # as after an exec: a process may look at itself below /proc
        linux.prctl(linux.PR_SET_DUMPABLE, 1)


def _reset_signals() -> None:
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _identity(child: Child) -> tuple[int, int, list[int], str]:
    try:
        entry = pwd.getpwnam(child.user)
    except KeyError:
        raise ValueError(f"there is no user {child.user!r}") from None
    groups = set(os.getgrouplist(child.user, entry.pw_gid))
    for name in child.groups:
        try:
            groups.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            raise ValueError(f"there is no group {name!r}") from None
    return entry.pw_uid, entry.pw_gid, sorted(groups), entry.pw_dir


def _replace_stdio(child: Child, uid: int, gid: int) -> None:
    given = _readable(child.input) if child.input else os.open(os.devnull, os.O_RDONLY)
    output = open_log(child.log, uid, gid)
    os.dup2(given, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (given, output):
        if descriptor > 2:
            os.close(descriptor)
    write_lines_at_once()


def _readable(data: bytes) -> int:
    """A descriptor from which ``data`` is read; it has no name that others could open."""
    descriptor = os.memfd_create("input")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def write_lines_at_once() -> None:
    """Output goes to a log that somebody may follow."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")


def _close_all_but(kept: set[int]) -> None:
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _environment(child: Child, home: str) -> dict[str, str]:
    """Made from nothing: what the operator's shell had set reaches no service."""
    environment = {
        # the helpers of Python (rootwrap and the like) are those of its own release
        "PATH": SYSTEM_PATH if child.argv else python_path(sys.executable),
        "LANG": "C.UTF-8",
        "HOME": home,
        "USER": child.user,
        "LOGNAME": child.user,
        proc.ROOT_VARIABLE: str(child.root),
        proc.PROCESS_VARIABLE: child.name,
    }
    if "TZ" in os.environ:
        environment["TZ"] = os.environ["TZ"]
    return environment | child.env


def python_path(python: str) -> str:
    """PATH for what runs in the environment of ``python``."""
    return f"{Path(python).parent}:{SYSTEM_PATH}"


def _execute(child: Child) -> None:
    environment = dict(os.environ)
    if child.sockets:
        # systemd's protocol: sd_listen_fds(3)
        high = [
            (name, fcntl.fcntl(s.fileno(), fcntl.F_DUPFD_CLOEXEC, HIGH))
            for name, s in child.sockets.items()
        ]
        for number, (_, descriptor) in enumerate(high):
            os.dup2(descriptor, 3 + number, inheritable=True)
        environment["LISTEN_PID"] = str(os.getpid())
        environment["LISTEN_FDS"] = str(len(high))
        environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in high)
    linux.leave_profile_at_exec()
    os.execvpe(child.argv[0], list(child.argv), environment)


def _call(child: Child) -> int:
    sys.argv[:] = [child.name]
    random.seed()
    # What the parent imported stays frozen: a collection would touch, and so copy, all of it.
    gc.enable()
    faulthandler.enable()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert child.call is not None
        return child.call(child.sockets) or 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        return 1


def load(reference: str) -> Callable[..., int | None]:
    """The function named ``module:function``; raises what its import raises."""
    import importlib

    module, _, name = reference.partition(":")
    function: Callable[..., int | None] = getattr(importlib.import_module(module), name)
    return function


def read_status(status: int) -> str:
    """Why a child could not be set up, or nothing; closes the status pipe."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(status, 4096):
            data += more
    os.close(status)
    return data.decode(errors="replace")


def ended_how(code: int) -> str:
    """``exited with 1``, ``killed by SIGKILL``."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
