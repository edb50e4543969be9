"""The one runner of external commands.

Every command has no input unless given, its output kept, a time limit, and a
session of its own, so that Ctrl-C at the terminal reaches us and not it.
A failure shows what was run, how it ended and what it said.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import select
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onestack.host import orphans
from onestack.host.orphans import MARK
from onestack.model.errors import NotInstalled, OnestackError
from onestack.model.run import this_run

SHOWN = 4000
"""Characters of each output that an error shows, from its end."""


@dataclass(frozen=True)
class CommandResult:
    """How a command ended; ``code`` is negative for a signal. Secrets are hidden."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code == 0


class CommandFailed(OnestackError):
    """A command ended badly; ``result`` has all of it."""

    def __init__(self, result: CommandResult, reason: str, cure: str = "") -> None:
        parts = [reason]
        for name, text in (("output", result.out), ("errors", result.err)):
            if text.strip():
                shown = text.strip()
                if len(shown) > SHOWN:
                    shown = f"…{shown[-SHOWN:]}"
                parts.append(f"its {name}:\n{shown}")
        super().__init__(f"{shlex.join(result.argv)} failed", "\n".join(parts), cure)
        self.result = result


class Aborted(OnestackError):
    """The operator stopped the run."""


def hide(text: str, secrets: Iterable[str]) -> str:
    """``text`` with each secret replaced by asterisks."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "********")
    return text


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, with messages in English and the administrator's programs on the path."""
    path = os.environ.get("PATH", "")
    missing = [
        p
        for p in ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")
        if p not in path.split(":")
    ]
    return {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "PATH": ":".join(filter(None, [path, *missing])),
        **(extra or {}),
    }


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | Path | None = None,
    stdout: Path | None = None,
    secrets: Iterable[str] = (),
    finish: bool = False,
    hopeless: str = "",
) -> CommandResult:
    """Run ``argv`` to its end, at most ``timeout`` seconds.

    ``stdin`` is text, or a file to read from; ``stdout`` a file to write to
    (mode 0600) instead of keeping the output. With ``finish`` it is not cut
    short when the operator stops the run, and goes on when we are killed.
    ``hopeless`` is a pattern: a command whose errors match it waits for what
    will not come by itself, and is ended.
    Raises `CommandFailed` for an exit code other than 0 (unless ``check`` is
    off), always for a timeout and for ``hopeless``, `NotInstalled` when there
    is no such program (or ``cwd``), and `OnestackError` when it cannot be started.
    """
    words = [str(word) for word in argv]
    marked = {} if finish else {MARK: orphans.identity(os.getpid())}
    shown = tuple(hide(word, secrets) for word in words)
    started = time.monotonic()
    source = _source(stdin)
    target = None
    try:
        if stdout is not None:
            target = os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            process = subprocess.Popen(
                words,
                stdin=source,
                stdout=subprocess.PIPE if target is None else target,
                stderr=subprocess.PIPE,
                env=environment({**(env or {}), **marked}),
                cwd=cwd,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            missing = cwd if cwd and not cwd.is_dir() else words[0]
            raise NotInstalled(
                f"{shlex.join(shown)} cannot be run", f"{missing} is not there"
            ) from error
        except OSError as error:
            raise OnestackError(
                f"{shlex.join(shown)} cannot be run", error.strerror or ""
            ) from error
        ended = _wait(process, started + timeout, finish, hopeless)
    finally:
        os.close(source)
        if target is not None:
            os.close(target)
    out, err, reason = ended
    result = CommandResult(
        shown,
        process.returncode,
        hide(out, secrets),
        hide(err, secrets),
        time.monotonic() - started,
    )
    if reason == "aborted":
        raise Aborted(f"{shlex.join(shown)} was stopped")
    if reason == "timeout":
        raise CommandFailed(result, f"it did not end within {timeout:g} s")
    if reason == "hopeless":
        raise CommandFailed(result, "it waited for what does not come by itself, and was ended")
    if check and result.code:
        raise CommandFailed(result, _ending(result.code))
    return result


def follow(
    argv: Sequence[str | Path],
    line: Callable[[str], None],
    *,
    user: str,
    env: Mapping[str, str],
    cwd: Path,
    stdin: str,
) -> CommandResult:
    """Run ``argv`` to its end as ``user``, however long that takes, and hand on each line.

    ``env`` is all of its environment: what ours holds is not that user's. The result has
    its errors, and no output. Raises as `run` does, but not for an exit code.
    """
    words = [str(word) for word in argv]
    started = time.monotonic()
    source = _source(stdin)
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                words,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**env, MARK: orphans.identity(os.getpid())},
                cwd=cwd,
                user=user,
                group=pwd.getpwnam(user).pw_gid,
                extra_groups=(),
                start_new_session=True,
            )
        except OSError as error:
            raise OnestackError(
                f"{shlex.join(words)} cannot be run", error.strerror or ""
            ) from error
        finally:
            os.close(source)
        try:
            _lines(process, line)
        except BaseException:
            _end(process)
            raise
        if this_run().stop.is_set():
            raise Aborted(f"{shlex.join(words)} was stopped")
        code = process.wait()
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    return CommandResult(tuple(words), code, "", text, time.monotonic() - started)


def _lines(process: subprocess.Popen[bytes], line: Callable[[str], None]) -> None:
    """Each whole line of its output as it comes; ended when the operator stops the run."""
    assert process.stdout is not None
    rest, stop = b"", this_run().stop
    with process.stdout as output:
        while not stop.is_set():
            if not select.select([output], [], [], 0.25)[0]:
                continue
            some = os.read(output.fileno(), 65536)
            if not some:
                return
            *whole, rest = (rest + some).split(b"\n")
            for each in whole:
                line(each.decode(errors="replace"))
        _end(process)


def _source(stdin: str | Path | None) -> int:
    """A descriptor to read the input from. Text goes through memory that has no name.

    (Popen.communicate cannot be gone on with when it was given input.)
    """
    if isinstance(stdin, Path):
        return os.open(stdin, os.O_RDONLY | os.O_CLOEXEC)
    if stdin is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    descriptor = os.memfd_create("stdin")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(stdin.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _wait(
    process: subprocess.Popen[bytes], until: float, finish: bool, hopeless: str
) -> tuple[str, str, str]:
    """Output, errors, and why it was ended by us ("", "timeout", "aborted", "hopeless")."""
    reason, stop = "", this_run().stop
    while True:
        try:
            out, err = process.communicate(timeout=0.25)
            break
        except subprocess.TimeoutExpired as waiting:
            if not finish and stop.is_set():
                reason = "aborted"
            elif hopeless and re.search(hopeless.encode(), waiting.stderr or b""):
                reason = "hopeless"
            elif time.monotonic() >= until:
                reason = "timeout"
            if reason:
                out, err = _end(process)
                break
        except BaseException:
            _end(process)
            raise
    return (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"), reason


def _end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End the command and what it started: politely, then for sure."""
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
    return b"", b""


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"it was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"it was ended by signal {-code}"
    return f"it ended with exit code {code}"
