"""How the preflight checks look at the machine: every look can be replaced by a test's.

Standard library only: it runs before our own environment exists.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import re
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onestack.host import nftables
from onestack.host.command import run
from onestack.host.facts import HostFacts, disk_free
from onestack.kernel import mounts, proc, sockets
from onestack.kernel.limits import raise_open_files
from onestack.model.errors import OnestackError
from onestack.release.environment import PYTHON, uv_program
from onestack.release.index import uv_environment

HEAD_SECONDS = 6.0
INDEX_SECONDS = 30.0
Problem = tuple[str, str]
"""An address and why it is not reached."""


@dataclass(frozen=True)
class Daemon:
    pid: int
    name: str
    root: str
    """The root of the cloud it belongs to, or ``""``."""


def daemons(names: Sequence[str]) -> list[Daemon]:
    """Processes with one of these names in our network namespace."""
    here = proc.namespace("self", "net")
    found = []
    for pid in proc.pids():
        name = proc.name(pid)
        if name in names and proc.namespace(pid, "net") == here:
            found.append(Daemon(pid, name, proc.root_of(pid)))
    return found


def head(url: str, proxies: Mapping[str, str]) -> str:
    """Ask for ``url`` (HTTP HEAD; a file is looked at); why it failed, or ``""``.

    By the proxy that apt would take: ``proxies`` are those it is told, as `apt_proxies` has them.
    """
    if url.startswith(("cdrom:", "copy:")):
        return ""
    if url.startswith("file:"):
        path = "/" + url.removeprefix("file:").lstrip("/")
        return "" if os.path.exists(path) else f"{path} is not there"
    opener = urllib.request.build_opener(_AsApt(proxies))
    try:
        request = urllib.request.Request(url, method="HEAD")
        with opener.open(request, timeout=HEAD_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        # It is there and speaks; apt's lists may be older than the mirror.
        return "" if error.code in (403, 404, 405) else f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError, http.client.HTTPException) as error:
        # (of a proxy whose URL is none, too)
        return str(error)


class _AsApt(urllib.request.ProxyHandler):
    """Each request by the proxy that apt takes for it: a mirror may send one elsewhere."""

    def __init__(self, told: Mapping[str, str]) -> None:
        super().__init__({})
        self._told = told

    def http_open(self, request: urllib.request.Request) -> Any:
        if request.has_proxy():
            return None
        proxy = proxy_of(request.full_url, self._told)
        return self.proxy_open(request, proxy, request.type) if proxy else None

    https_open = http_open


def proxy_of(url: str, told: Mapping[str, str]) -> str:
    """The proxy by which apt fetches ``url``, or ``""``.

    What it is ``told`` counts more than the environment, of a host more than of all, and what
    holds for http holds for https too where nothing is said of that.
    """
    parts = urllib.parse.urlsplit(url)
    kinds = ("https", "http") if parts.scheme == "https" else ("http",)
    names = [f"{kind}{host}" for host in (f"::{parts.hostname}", "") for kind in kinds]
    for name in names:
        if name in told:
            return "" if told[name] == "DIRECT" else told[name]
    found = urllib.request.getproxies()
    return next((found[kind] for kind in kinds if found.get(kind)), "")


def apt_proxies() -> dict[str, str]:
    """The proxies that apt is told to use, by ``http``, ``https``, ``http::HOST`` …"""
    text = run(["apt-config", "dump"], check=False, timeout=20).out
    found = re.findall(
        r'^Acquire::(https?)::[Pp]roxy((?:::[^ ]+)?) "([^"]+)";$', text, re.MULTILINE
    )
    return {f"{kind}{host}": url for kind, host, url in found}


def behind_a_proxy() -> str:
    """What else to try, where the environment says nothing of a proxy."""
    if urllib.request.getproxies().keys() & {"http", "https"}:
        return ""
    return (
        "; behind a proxy: export http_proxy, https_proxy and no_proxy, then sudo "
        "--preserve-env=http_proxy,https_proxy,no_proxy ./onestack … (sudo alone does not pass on "
        "what your shell has set)"
    )


def apt_problems(packages: Sequence[str]) -> list[Problem]:
    """Mirrors that would be asked for ``packages`` and are not reached.

    Without packages, or lists that know them, the mirrors of the lists themselves.
    """
    asked = ["-y", "--no-install-recommends", "install", *packages]
    answer = run(["apt-get", "-qq", "--print-uris", *asked], check=False, timeout=60)
    if packages and answer.ok and not answer.out.strip():
        return []  # all of it lies in apt's cache
    if not answer.ok or not packages:
        # (twice quiet, it does not print them)
        answer = run(["apt-get", "-q", "--print-uris", "update"], check=False, timeout=60)
    one_each: dict[str, str] = {}
    for url in re.findall(r"^'([^']+)'", answer.out, re.MULTILINE):
        one_each.setdefault("/".join(url.split("/")[:3]), url)
    if not one_each:
        why = "no source of packages is configured there" if answer.ok else _last(answer.err)
        return [("/etc/apt/sources.list*", why)]
    proxies = apt_proxies()
    with ThreadPoolExecutor(len(one_each)) as pool:
        reasons = pool.map(lambda url: head(url, proxies), one_each.values())
        return [(site, why) for site, why in zip(one_each, reasons, strict=True) if why]


def index_problem(requirement: str) -> str | None:
    """Why ``requirement`` (``name==version``) cannot be had from the Python package index.

    Asked with uv, else with the distribution's pip; ``""`` when it can be
    had, ``None`` when neither is there yet to ask with.
    """
    with tempfile.TemporaryDirectory(prefix="onestack-index-") as folder:
        target = str(Path(folder) / "target")
        try:
            uv = uv_program()
        except OnestackError:
            return _pip_problem(requirement, target)
        env = {"UV_HTTP_TIMEOUT": "6", "UV_HTTP_RETRIES": "0"} | uv_environment()
        words = "pip install --quiet --dry-run --no-deps --no-cache --python"
        argv = [uv, *words.split(), str(PYTHON), "--target", target, requirement]
        answer = run(argv, env=env, check=False, timeout=INDEX_SECONDS)
    return "" if answer.ok else _last(answer.err)


def _pip_problem(requirement: str, target: str) -> str | None:
    words = "-m pip download --quiet --no-deps --no-cache-dir --timeout 6 --retries 0 -d"
    argv = [str(PYTHON), *words.split(), target, requirement]
    answer = run(argv, check=False, timeout=INDEX_SECONDS)
    if answer.err.strip().endswith("No module named pip"):
        return None
    return "" if answer.ok else _last(answer.err)


def _last(text: str) -> str:
    lines = [line.strip(" ×╰─▶├│·") for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-4:]) or "no reason was given"


def closed_folder(path: Path) -> Path | None:
    """The topmost folder above ``path`` that other users than its owner cannot go through."""
    for folder in reversed(path.parents):
        if folder.is_dir() and not folder.stat().st_mode & 0o001:
            return folder
    return None


def enforced(profiles: Path = Path("/sys/kernel/security/apparmor/profiles")) -> list[str]:
    """Names of the AppArmor profiles that are kept: of what begins at a path, or has a name."""
    try:
        lines = profiles.read_text().splitlines()
    except OSError:
        return []
    return [line.removesuffix(" (enforce)") for line in lines if line.endswith(" (enforce)")]


def clock_synchronised() -> bool | None:
    """What the kernel says (adjtimex); ``None`` when it does not say."""
    buffer = ctypes.create_string_buffer(256)
    state = ctypes.CDLL(None).adjtimex(buffer)
    return None if state < 0 else state != 5


@dataclass(frozen=True)
class Machine:
    """The looks; a test replaces those it is about."""

    facts: HostFacts
    user: Callable[[], int] = os.geteuid
    python: tuple[int, int] = field(default_factory=lambda: sys.version_info[:2])
    disk_free: Callable[[Path], int] = disk_free
    closed_folder: Callable[[Path], Path | None] = closed_folder
    mount_of: Callable[[Path], mounts.Mount | None] = mounts.holding
    listeners: Callable[[], list[sockets.Listener]] = sockets.listeners
    owners: Callable[[Sequence[sockets.Listener]], list[sockets.Listener]] = sockets.owners
    root_of: Callable[[int], str] = proc.root_of
    """The root of the cloud that a process belongs to, or ``""``."""
    apt_problems: Callable[[Sequence[str]], list[Problem]] = apt_problems
    index_problem: Callable[[str], str | None] = index_problem
    now: Callable[[], float] = time.time
    clock_synchronised: Callable[[], bool | None] = clock_synchronised
    daemons: Callable[[Sequence[str]], list[Daemon]] = daemons
    enforced: Callable[[], list[str]] = enforced
    unit_of: Callable[[int], str] = proc.unit_of
    """The machine's unit of systemd's that a process belongs to, or ``""``."""
    program: Callable[[int], str] = proc.name
    open_files: Callable[[], int] = raise_open_files
    filters: Callable[[], Mapping[str, Any]] = nftables.ruleset
    """The rules of the machine's packet filter."""
