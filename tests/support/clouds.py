"""A cloud under test: brought up by the launcher, used through the unmodified clients."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCHER = REPOSITORY / "onestack"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class CommandFailed(AssertionError):
    """A command of a test ended otherwise than it had to."""


def run(
    words: list[str], *, expect: int | None = 0, timeout: float = 600, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command, text in and out; ``expect=None`` accepts any exit code."""
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **more
    )
    if expect is not None and done.returncode != expect:
        raise CommandFailed(
            f"{shlex.join(words)} ended with {done.returncode}, not {expect}\n"
            f"--- stdout\n{done.stdout[-6000:]}\n--- stderr\n{done.stderr[-6000:]}"
        )
    return done


def table(text: str) -> dict[str, str]:
    """The two columns of a client's ``Field | Value`` table."""
    rows = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|")]
    found: dict[str, str] = {}
    last = ""
    for row in rows:
        cells = [cell.strip() for cell in row]
        if len(cells) == 2:
            last = cells[0] or last
            found[last] = (found.get(last, "") + cells[1]) if not cells[0] else cells[1]
    return found


def rows(text: str) -> list[dict[str, str]]:
    """The lines of a client's list, each a mapping from column to cell."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]] if lines else []


def wait_until(what: str, check: Callable[[], Any], seconds: float, pause: float = 1.0) -> Any:
    """Ask ``check`` until it answers something true; `CommandFailed` names ``what`` after that."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = check()
            last: object = answer
        except CommandFailed as error:
            answer, last = None, error
        if answer:
            return answer
        if time.monotonic() > end:
            raise CommandFailed(f"{what}: not within {seconds:.0f} s; last: {last}")
        time.sleep(pause)


TRACEBACK = "Traceback (most recent call last):"


@dataclass
class CloudUnderTest:
    """``answers`` are ``KEY=VALUE`` texts for ``--set``."""

    name: str
    netns: bool = True
    answer_file: Path | None = None
    answers: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return Path("/var/lib") / ("onestack" if self.name == "onestack" else self.prefix)

    @property
    def prefix(self) -> str:
        return "onestack" if self.name == "onestack" else f"onestack-{self.name}"

    def onestack(self, verb: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """``./onestack VERB --name …``."""
        return run([str(LAUNCHER), verb, "--name", self.name, *words], **more)

    def up_words(self) -> list[str]:
        words = ["--netns"] if self.netns else []
        if self.answer_file:
            words += ["--answer-file", str(self.answer_file)]
        for answer in self.answers:
            words += ["--set", answer]
        return words

    def up(self, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.onestack("up", *self.up_words(), timeout=more.pop("timeout", 900), **more)

    def need_volume(self, name: str, seconds: float = 60) -> None:
        """Wait for the volume; what kept it from being available is told with the logs' ends."""
        end = time.monotonic() + seconds
        status = ""
        while status != "available":
            status = self.type(f"openstack volume show {name} -f value -c status").strip()
            if status == "error" or time.monotonic() > end:
                ends = self.log_ends("cinder")
                raise CommandFailed(f"the volume {name} is {status!r}\n{ends}")

    def status(self) -> list[dict[str, Any]]:
        text = self.onestack("status", "--json", expect=None).stdout
        found: list[dict[str, Any]] = json.loads(text)["processes"]
        return found

    def inside(self, command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """A shell line as the guide's reader types it: inside the cloud's network."""
        words = [str(LAUNCHER), "shell", "--name", self.name, "--", "bash", "-c", command]
        return run(words, env=dict(os.environ) | self.variables, **more)

    def type(self, command: str, **more: Any) -> str:
        """What a line of the guide prints."""
        return self.inside(command, **more).stdout

    @contextlib.contextmanager
    def living(self, **more: Any) -> Iterator[CloudUnderTest]:
        """Brought up, and destroyed afterwards, also when it did not come up.

        ``ONESTACK_TEST_KEEP=y`` leaves it running, to look at what failed.
        """
        try:
            self.up(**more)
            yield self
        finally:
            if not os.environ.get("ONESTACK_TEST_KEEP"):
                self.destroy()

    def pids(self) -> list[int]:
        """Of the cloud's processes, by the root that their environment names."""
        mark = f"ONESTACK_SUPERVISED={self.root}".encode()
        return pids_by("environ", lambda words: mark in words)

    def guests(self) -> list[int]:
        """Of the processes that are its guests."""
        place = f"{self.root}/".encode()
        return pids_by(
            "cmdline",
            lambda words: b"qemu-system" in words[0] and any(place in word for word in words),
        )

    def power_cut(self) -> None:
        """All of it is gone at once, its guests too; nothing was told."""
        until = time.monotonic() + 30
        # What was being started while the others were ended comes after them.
        while left := [*self.pids(), *self.guests()]:
            if time.monotonic() > until:
                raise AssertionError(f"these do not end: {left}")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)

    def destroy(self, keep_cache: bool = True) -> None:
        """``keep_cache``: what all clouds share stays, so that the next test need not fetch it."""
        self.onestack("destroy", "--yes", *(("--keep-cache",) if keep_cache else ()), timeout=300)

    def logs(self) -> dict[str, str]:
        """Whole lines of all logs, of those cut by their size too.

        A log that is being cut has another name for a moment: then all are read again.
        """
        while True:
            try:
                found = {
                    path.name: path.read_text(errors="replace")
                    for path in sorted((self.root / "log").glob("*.log*"))
                }
            except FileNotFoundError:
                continue
            # the last line may be half written
            return {name: text[: text.rfind("\n") + 1] for name, text in found.items()}

    def sql(self, statements: str) -> list[str]:
        """The lines that the cloud's database server answers root, without names of columns."""
        socket = f"--socket={self.root}/run/mariadb/mariadb.sock"
        return run(["mariadb", "-N", socket, "-e", statements]).stdout.splitlines()

    def log_ends(self, *parts: str) -> str:
        """The last of the logs with one of ``parts`` in their names, for what a failure tells."""
        return "\n".join(
            f"--- {name}\n{text[-6000:]}"
            for name, text in self.logs().items()
            if any(part in name for part in parts)
        )

    def error_lines(self) -> list[str]:
        """ERROR and CRITICAL lines of all service logs, with the log's name before each."""
        return [
            f"{name}: {line}" for name, text in self.logs().items() for line in error_lines(text)
        ]

    def secrets(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.root / "etc" / "secrets.json").read_text())
        return found


def pids_by(kind: str, fits: Callable[[list[bytes]], bool]) -> list[int]:
    """Processes that ``fits`` finds by the words of ``/proc/PID/KIND``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if fits((entry / kind).read_bytes().split(b"\0")):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


_ERROR = re.compile(r"^\S+ \S+ \d+ (ERROR|CRITICAL) |\|(EMER|ERR)\||^\S+ +\S+ \d+ \[ERROR\]")
_DATED = re.compile(r"^\d{4}-\d\d-\d\d")


def error_lines(text: str) -> list[str]:
    """A log's lines of an error; a traceback's first line ends with its last."""
    found: list[str] = []
    traceback = False
    for line in text.splitlines():
        if _DATED.match(line):
            traceback = False
        elif traceback and line.strip():
            found[-1] = f"{found[-1].split(TRACEBACK)[0]}{TRACEBACK} … {line.strip()}"
        if _ERROR.search(line):
            found.append(line)
            # The colon is trove's, which has what a guest told in the line after.
            traceback = line.endswith((TRACEBACK, ":"))
    return found
