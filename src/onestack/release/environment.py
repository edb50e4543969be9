"""A Python environment from a lock file with hashes: whole, or made anew."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from onestack.host.command import CommandFailed, run
from onestack.host.files import remove_tree, write_file
from onestack.host.locks import Tell, file_lock, silent
from onestack.model.change import Change
from onestack.model.cloud import CACHE
from onestack.model.errors import OnestackError
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


def mark_of(lock: Path, python: Path = PYTHON) -> str:
    """What a whole environment says of itself: its lock's hash and its Python."""
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()} python{version_of(python)}\n"


def complete(place: Path, lock: Path, python: Path = PYTHON) -> bool:
    try:
        return (place / MARK).read_text() == mark_of(lock, python)
    except OSError:
        return False


def ensure_environment(
    place: Path, lock: Path, title: str, *, python: Path = PYTHON, tell: Tell = silent
) -> Iterator[Change]:
    """The environment ``place`` with exactly what ``lock`` names."""
    if complete(place, lock, python):
        return
    count = len(re.findall(r"^[A-Za-z0-9][^\s=]*==", lock.read_text(), re.MULTILINE))
    yield Change(
        f"install {count} Python packages of {title}",
        lambda: install(place, lock, title, python=python, tell=tell),
    )


def install(
    place: Path,
    lock: Path,
    title: str,
    *,
    python: Path = PYTHON,
    tell: Tell = silent,
    command: Callable[[], str] = uv_program,
) -> None:
    """Make ``place`` from nothing; the mark comes last. Raises `OnestackError`."""
    waiting = f"another cloud installs {title}"
    with file_lock(place.parent / f".{place.name}.lock", waiting, tell):
        if complete(place, lock, python):
            return
        remove_tree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        uv = command()
        env = {"UV_NO_PROGRESS": "1", "UV_NO_CONFIG": "", "UV_PYTHON_DOWNLOADS": "never"}
        # Also a name that does not resolve for a moment: half a minute, as apt.
        env["UV_HTTP_RETRIES"] = os.environ.get("UV_HTTP_RETRIES") or "5"
        env |= {"UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "hardlink")} | uv_environment()
        env["UV_CACHE_DIR"] = os.environ.get("UV_CACHE_DIR") or str(CACHE / "uv")
        env = {name: value for name, value in env.items() if value}
        # Whatever the caller's own environment is, the new one is not to be looked for there.
        env["VIRTUAL_ENV"] = str(place)
        try:
            run([uv, "venv", "--quiet", "-p", str(python), str(place)], env=env, timeout=120)
            words = "--quiet --require-hashes --no-deps --compile-bytecode -r"
            target = str(place / "bin" / "python")
            argv = [uv, "pip", "install", "-p", target, *words.split(), str(lock)]
            run(argv, env=env, timeout=1800)
        except CommandFailed as error:
            raise explained(title, error) from error
        readable(place)
        # The mark must not outlive a power cut that the files do not.
        run(["sync", "-f", str(place)], timeout=300)
        write_file(place / MARK, mark_of(lock, python))


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
    (r"No space left on device", "the disk is full", "make room (df -h /var/cache)"),
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
