"""Another Debian's packages than this machine's, by an apt that knows nothing else.

It takes this machine's mirrors, proxies and keys, and touches none of its lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from onestack.host.command import CommandResult, run
from onestack.host.packages import explained
from onestack.model.errors import OnestackError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HOOKS = (
    *("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"),
    *("DPkg::Pre-Invoke", "DPkg::Post-Invoke", "DPkg::Pre-Install-Pkgs"),
)
"""What this machine has done at such times is about its own packages."""
POCKETS = ("", "-updates", "-security")
"""What follows a release's name in the names of its suites."""


def mirrors(etc: Path = Path("/etc/apt"), codename: str = "") -> dict[str, str]:
    """From where this machine's apt takes Debian's main packages: pocket to URI.

    ``""`` is always among them. Raises `OnestackError` where apt knows no Debian mirror.
    """
    codename = codename or _codename()
    entries: list[tuple[str, str]] = []
    for path in sorted([etc / "sources.list", *(etc / "sources.list.d").glob("*")]):
        try:
            entries += _entries(path, path.read_text())
        except (OSError, UnicodeDecodeError):
            continue
    # Others name their suites by Debian's releases too.
    entries.sort(key=lambda entry: not re.search(r"/debian(-security)?/?$", entry[1]))
    found: dict[str, str] = {}
    for suite, uri in entries:
        if suite.startswith(codename) and (pocket := suite[len(codename) :]) in POCKETS:
            found.setdefault(pocket, uri)
    if "" not in found:
        raise OnestackError(
            "no Debian mirror is known",
            f"apt's sources have no entry for {codename}",
            "add one to /etc/apt/sources.list",
        )
    return found


def _entries(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """Suite and URI of each entry for binary packages of ``main``."""
    if path.suffix == ".sources":
        for stanza in re.split(r"\n\s*\n", text):
            fields = dict(re.findall(r"^(\w[\w-]*):\s*(.*)$", stanza, re.M))
            uris, types = fields.get("URIs", "").split(), fields.get("Types", "deb").split()
            if uris and "deb" in types and "main" in fields.get("Components", "main").split():
                yield from ((suite, uris[0]) for suite in fields.get("Suites", "").split())
    else:
        for line in text.splitlines():
            found = re.match(r"deb\s+(?:\[.*?\]\s+)?(\S+)\s+(\S+)\s+(.*)$", line)
            if found and "main" in found[3].split():
                yield found[2], found[1]


def _codename() -> str:
    text = Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\S+)", text, re.M)
    return str(found[1]) if found else "stable"


def isolated_apt(place: Path, suites: Mapping[str, str]) -> list[str]:
    """Options for an apt that knows only ``suites`` (name to URI), and nothing as installed.

    All that it keeps is in ``place``, which everybody must be able to enter: apt fetches as
    a user of its own.
    """
    for name in ("state/lists/partial", "cache/archives/partial"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    sources = place / "sources.list"
    sources.write_text(
        "".join(f"deb [signed-by={KEYRING}] {uri} {suite} main\n" for suite, uri in suites.items())
    )
    settings = {
        "Dir::State": place / "state",
        "Dir::State::status": place / "status",
        "Dir::Cache": place / "cache",
        "Dir::Cache::pkgcache": "pkgcache.bin",
        "Dir::Cache::srcpkgcache": "srcpkgcache.bin",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Retries": "5",
        # a list that could not be fetched is an error, not a warning
        "APT::Update::Error-Mode": "any",
    }
    config = place / "apt.conf"
    config.write_text(
        "".join(f"#clear {hook};\n" for hook in HOOKS)
        + "".join(f'{name} "{value}";\n' for name, value in settings.items())
    )
    return ["-c", str(config)]


def apt(program: str, *words: str | Path, timeout: float, cwd: Path | None = None) -> CommandResult:
    """Run it. Raises `OnestackError` with the likely cause."""
    done = run([program, *words], timeout=timeout, cwd=cwd, check=False)
    if not done.ok:
        raise explained(done)
    return done
