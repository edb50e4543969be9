"""A Python environment from a lock file with hashes: whole, or made anew."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onestack.host.command import CommandFailed, run
from onestack.host.files import remove_tree, write_file
from onestack.host.full_disk import SAID
from onestack.host.locks import Tell, file_lock, silent
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.errors import NotInstalled, OnestackError
from onestack.release.index import uv_environment

PYTHON = Path("/usr/bin/python3")
"""The distribution's: its bindings (libvirt) must fit."""
MARK = ".onestack-lock"


def version_of(python: Path = PYTHON) -> str:
    """``3.11``, from where the link points: nothing is started."""
    match = re.fullmatch(r"python(\d+\.\d+)", python.resolve().name)
    if match:
        return match[1]
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return run([python, "-c", program], timeout=20).out.strip()


def uv_program() -> str:
    """uv from our own environment, else from the path. Raises `OnestackError`."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return found
    raise OnestackError(
        "uv is not there, which installs the release",
        "it belongs to onestack's own environment",
        "remove that environment (.venv beside the launcher) and run the same command again",
    )


@dataclass(frozen=True)
class Environment:
    """One Python environment of a release: in ``place``, with exactly what ``lock`` names.

    ``title`` is what people are told of it, ``base`` the interpreter that it is made from.
    """

    name: str
    place: Path
    lock: Path
    title: str
    base: Path = PYTHON

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.command("python")

    def command(self, name: str) -> Path:
        """One of its programs."""
        return self.place / "bin" / name

    @property
    def site_packages(self) -> Path:
        """Where its packages lie, or will lie."""
        return self.place / "lib" / f"python{version_of(self.base)}" / "site-packages"

    @property
    def digest(self) -> str:
        """Twelve digits that change with what the lock names: they stand for its code."""
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()[:12]

    @property
    def mark(self) -> str:
        """What it says of itself when it is whole: its lock's hash and its Python."""
        digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()
        return f"{digest} python{version_of(self.base)}\n"

    @property
    def complete(self) -> bool:
        """Whether it is there, whole, from this lock."""
        try:
            return (self.place / MARK).read_text() == self.mark
        except OSError:
            return False

    def path(self, relative: str) -> Path:
        """A file or folder of its packages, that is there. Raises `NotInstalled`."""
        if not self.complete:
            raise NotInstalled(
                f"{relative} cannot be looked at",
                f"it comes with the Python packages of {self.title}, which are not installed yet",
                "run onestack up",
            )
        return self.site_packages / relative

    def read(self, relative: str) -> str:
        """The text of a file of its packages. Raises `NotInstalled`."""
        return self.path(relative).read_text(encoding="utf-8")

    def ensure(self, tell: Tell = silent) -> Iterator[Change]:
        if self.complete:
            return
        count = len(re.findall(r"^[A-Za-z0-9][^\s=]*==", self.lock.read_text(), re.MULTILINE))
        yield Change(f"install {count} Python packages of {self.title}", lambda: self.install(tell))

    def install(self, tell: Tell = silent, command: Callable[[], str] = uv_program) -> None:
        """Make it from nothing; the mark comes last. Raises `OnestackError`."""
        place = self.place
        waiting = f"another cloud installs {self.title}"
        with file_lock(place.parent / f".{place.name}.lock", waiting, tell):
            if self.complete:
                return
            remove_tree(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            uv = command()
            env = uv_variables(place)
            try:
                run([uv, "venv", "--quiet", "-p", str(self.base), str(place)], env=env, timeout=120)
                words = "--quiet --require-hashes --no-deps --compile-bytecode -r"
                argv = [uv, "pip", "install", "-p", str(self.python), *words.split()]
                run([*argv, str(self.lock)], env=env, timeout=1800)
            except CommandFailed as error:
                raise explained(self.title, error) from error
            readable(place)
            # The mark must not outlive a power cut that the files do not.
            run(["sync", "-f", str(place)], timeout=300)
            write_file(place / MARK, self.mark)


def uv_variables(place: Path) -> dict[str, str]:
    """uv's environment when it makes the one in ``place``."""
    env = {"UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "", "UV_PYTHON_DOWNLOADS": "never"}
    # Also a name that does not resolve for a moment: half a minute, as apt.
    env["UV_HTTP_RETRIES"] = os.environ.get("UV_HTTP_RETRIES") or "5"
    env |= {"UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "hardlink")} | uv_environment()
    env["UV_CACHE_DIR"] = os.environ.get("UV_CACHE_DIR") or str(CACHE / "uv")
    # Whatever the caller's own environment is, the new one is not to be looked for there.
    return {name: value for name, value in env.items() if value} | {"VIRTUAL_ENV": str(place)}


def readable(place: Path) -> None:
    """Services run as other users: everything in it may be read by all."""
    for folder, _, files in os.walk(place):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            if not os.path.islink(path):
                mode = os.stat(path).st_mode & 0o7777
                wanted = mode | 0o444 | (0o111 if mode & 0o100 else 0)
                if wanted != mode:
                    os.chmod(path, wanted)


_CAUSES = (
    (SAID, "the disk is full", "make room (df -h /var/cache)"),
    (
        r"hash mismatch|Hash mismatch|hashes do not match",
        "the index delivered a file that is not the one the release was made with",
        "check which index is configured: pip config list, and the UV_* variables",
    ),
    (
        r"401|403|Unauthorized|Forbidden",
        "the index wants other credentials",
        "check the index's URL: pip config list, and the UV_* variables",
    ),
    (
        r"was not found in the package registry|no version of|not found in the package|No solution",
        "the configured index does not have all packages",
        "check which index is configured: pip config list, and the UV_* variables",
    ),
    (
        r"certificate|UnknownIssuer|TLS|tls",
        "the index's certificate is not trusted",
        "give its CA: SSL_CERT_FILE=FILE, or pip config set global.cert FILE",
    ),
    (
        r"dns error|Failed to fetch|error sending request|Connect|timed out|timeout|unreachable",
        "the package index is not reached",
        "check the network and proxy; another index: pip config set global.index-url URL",
    ),
)


def explained(title: str, error: CommandFailed) -> OnestackError:
    """uv's failure with the likely cause."""
    text = error.result.out + error.result.err
    cause, cure = error.why, "run the same command again"
    for pattern, found, mend in _CAUSES:
        if re.search(pattern, text):
            cause, cure = f"{found}\n{error.why}", f"{mend}, then run the same command again"
            break
    return OnestackError(f"the Python packages of {title} cannot be installed", cause, cure)
