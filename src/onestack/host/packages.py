"""Debian packages in one apt transaction, with no service started on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onestack.host import dpkg
from onestack.host.command import CommandFailed, CommandResult, run
from onestack.host.files import write_file
from onestack.host.full_disk import SAID
from onestack.host.ledger import Ledger
from onestack.host.locks import Tell, file_lock, locked, silent
from onestack.model.change import Change, Undo
from onestack.model.cloud import CACHE
from onestack.model.errors import OnestackError

PACKAGES = "packages"
"""What the ledger calls those that were installed."""
POLICY = Path("/usr/sbin/policy-rc.d")
SAVED = POLICY.with_name("policy-rc.d.onestack-saved")
POLICY_TEXT = """#!/bin/sh
# onestack: no service starts while onestack installs packages. Removed right after.
exit 101
"""
LISTS = Path("/var/lib/apt/lists")
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
}
FETCHING = ("-q", "-oAcquire::Retries=5")
"""apt tries a mirror, or a name that does not resolve, again for half a minute."""
OPTIONS = (
    *FETCHING,
    "-y",
    "--no-install-recommends",
    "-oDPkg::Lock::Timeout=120",
    "-oDpkg::Options::=--force-confold",
    "-oDpkg::Use-Pty=0",
)


def ensure_packages(
    names: Iterable[str], ledger: Ledger, *, systemd: bool, tell: Tell = silent
) -> Iterator[Change]:
    """All of ``names`` installed, none of their services started or enabled."""
    wanted = sorted(set(names))
    present = dpkg.installed(wanted)
    if missing := [name for name in wanted if name not in present]:
        yield Change(
            f"install {len(missing)} packages: {' '.join(missing)}",
            lambda: install(missing, ledger, systemd=systemd, tell=tell),
        )
    elif ours(POLICY) and not locked(CACHE / "packages.lock") and dpkg.lock_holder() is None:
        yield Change(f"remove {POLICY}, left by an interrupted install", lambda: _allow(ledger))
    pending = [e.data for e in ledger.entries() if e.kind == "package-units"]
    if systemd and (pending or missing):
        yield Change(
            "keep the packages' own services from starting at boot",
            lambda: _disable_units(ledger),
        )


def install(
    names: list[str], ledger: Ledger, *, systemd: bool = False, tell: Tell = silent
) -> None:
    """Install ``names`` and what they need. Raises `OnestackError` with cause and cure."""
    with file_lock(CACHE / "packages.lock", "another cloud installs packages", tell):
        dpkg.wait_for_lock(tell=tell)
        _install(names, ledger, systemd, tell)


def _install(names: list[str], ledger: Ledger, systemd: bool, tell: Tell) -> None:
    with no_services(ledger):
        if dpkg.unfinished():
            tell("an earlier install was interrupted: finishing it first")
            done = _apt(["dpkg", "--configure", "-a"], 1800, check=False)
            if not done.ok:
                raise explained(done)
        if not any(LISTS.glob("*_Packages*")):
            update(tell)
        plan = simulate(names)
        if not plan.ok and unknown(plan):
            update(tell)
            plan = simulate(names)
        if not plan.ok:
            raise explained(plan)
        coming = re.findall(r"^Inst (\S+) ", plan.out, re.MULTILINE)
        present = dpkg.installed(coming)
        new = sorted(name for name in coming if name not in present)
        if systemd:
            ledger.record("package-units", names=new)
        ledger.record(PACKAGES, names=new)
        tell(f"installing {len(coming)} packages")
        done = _apt(["apt-get", *OPTIONS, "install", *names], 3600, check=False)
        if not done.ok and outdated(done):
            update(tell)
            done = _apt(["apt-get", *OPTIONS, "install", *names], 3600, check=False)
        if not done.ok:
            raise explained(done)


def update(tell: Tell = silent) -> None:
    """Fetch apt's lists. Raises `OnestackError` when that fails."""
    tell("fetching the lists of packages")
    done = _apt(["apt-get", *OPTIONS, "update"], 600, check=False)
    if not done.ok:
        raise explained(done)


def simulate(names: list[str]) -> CommandResult:
    return _apt(["apt-get", *OPTIONS, "-s", "install", *names], 120, check=False)


def unknown(result: CommandResult) -> bool:
    """Whether apt did not find a package that it was asked for."""
    return bool(re.search(r"Unable to locate package|has no installation candidate", result.err))


def outdated(result: CommandResult) -> bool:
    """Whether apt's lists are older than the mirror."""
    return bool(re.search(r"404 +Not Found", result.out + result.err))


def _apt(argv: list[str], seconds: float, check: bool = True) -> CommandResult:
    return run(argv, env=ENVIRONMENT, timeout=seconds, check=check, finish=True)


_CAUSES = (
    (
        SAID,
        "the disk is full",
        "make room (df -h / /var), then run the same command again",
    ),
    (
        r"Could not get lock|is held by process",
        "another program works with packages",
        "wait until it ends, then run the same command again",
    ),
    (
        r"Temporary failure resolving|Could not resolve|Could not connect|Unable to connect"
        r"|Connection (timed out|refused|failed)|Network is unreachable|No route to host",
        "the package mirror is not reached",
        "check the network and /etc/apt/sources.list*; try: apt-get update",
    ),
    (
        r"NO_PUBKEY|is not signed|is not valid yet|Release file .* expired",
        "apt does not trust the mirror's lists (a wrong clock does that too)",
        "check the time (date), then: apt-get update",
    ),
    (
        r"Unable to locate package|has no installation candidate",
        "the configured mirrors do not have a package",
        "enable Debian's main archive in /etc/apt/sources.list*, then: apt-get update",
    ),
    (
        r"held broken packages|unmet dependencies|you have held",
        "packages on hold, or of another release, stand in the way",
        "see apt-mark showhold and apt-get check",
    ),
    (
        r"Sub-process \S*dpkg (returned an error|exited unexpectedly|received)"
        r"|dpkg was interrupted",
        "dpkg failed on a package",
        "run the same command again: it finishes that first, as dpkg --configure -a does; "
        "see /var/log/dpkg.log",
    ),
    (
        r"Failed to fetch",
        "the package mirror did not deliver",
        "check the network and /etc/apt/sources.list*; try: apt-get update",
    ),
)


def explained(result: CommandResult) -> OnestackError:
    """apt's failure with the likely cause first and apt's own words after it."""
    text = result.out + result.err
    for pattern, cause, cure in _CAUSES:
        if re.search(pattern, text):
            return CommandFailed(result, cause, cure)
    return CommandFailed(result, f"exit code {result.code}", "run the same command again")


def ours(path: Path) -> bool:
    try:
        return path.read_text() == POLICY_TEXT
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def no_services(ledger: Ledger) -> Iterator[None]:
    """Forbid starting services (policy-rc.d), as long as it lasts."""
    ledger.record("policy-rc.d")
    if POLICY.exists() and not ours(POLICY):
        POLICY.rename(SAVED)
    write_file(POLICY, POLICY_TEXT, mode=0o755)
    try:
        yield
    finally:
        _allow(ledger)


def _allow(ledger: Ledger) -> None:
    undo_policy({})
    ledger.forget("policy-rc.d")


def undo_policy(data: dict[str, Any]) -> None:
    if ours(POLICY):
        POLICY.unlink()
    if SAVED.exists() and not POLICY.exists():
        SAVED.rename(POLICY)


def enabled_units(packages: Iterable[str]) -> list[str]:
    """Units that come with ``packages`` and start at boot (systemd only)."""
    found = []
    for package in packages:
        listing = run(["dpkg", "-L", package], check=False, timeout=60).out
        names = re.findall(r"^(?:/usr)?/lib/systemd/system/([^/@]+\.\w+)$", listing, re.MULTILINE)
        for name in names:
            state = run(["systemctl", "is-enabled", name], check=False, timeout=30).out.strip()
            if state == "enabled":
                found.append(name)
    return found


def _disable_units(ledger: Ledger) -> None:
    for entry in ledger.entries():
        if entry.kind == "package-units":
            if units := enabled_units(entry.data["names"]):
                run(["systemctl", "disable", *units], timeout=120, finish=True)
            ledger.forget("package-units", **entry.data)


def undo_package_units(data: dict[str, Any]) -> None:
    """Nothing to do: the entry only says that units may still have to be disabled."""


def undo_packages(data: dict[str, Any]) -> None:
    """Packages stay unless asked for, see `purge`: others may use them by now."""


def purge(names: list[str]) -> None:
    """Remove packages and their configuration. Raises `OnestackError` with apt's words."""
    present = sorted(dpkg.installed(names))
    if present:
        done = _apt(["apt-get", "-y", "-q", "-oDpkg::Use-Pty=0", "purge", *present], 1800, False)
        if not done.ok:
            raise explained(done)


UNDO: Mapping[str, Undo] = {
    "policy-rc.d": undo_policy,
    "package-units": undo_package_units,
    PACKAGES: undo_packages,
}
