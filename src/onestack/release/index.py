"""Which Python package index to use: what the operator configured for uv, else for pip.

No index is named here: with nothing configured, uv uses its own default.
Standard library only (preflight).
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

UV_CHOICE = ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE")


def pip_settings(
    env: Mapping[str, str] = os.environ, etc: Path = Path("/etc"), home: Path | None = None
) -> dict[str, str]:
    """pip's options as its files and ``PIP_*`` variables set them, later ones first.

    ``home`` is the home directory; the files are those pip itself reads.
    """
    home = home or Path(env.get("HOME", "/root"))
    config_home = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    system = [
        Path(d) / "pip" / "pip.conf"
        for d in reversed(env.get("XDG_CONFIG_DIRS", str(etc / "xdg")).split(":"))
        if d
    ]
    files = [
        *system,
        etc / "pip.conf",
        home / ".pip" / "pip.conf",
        config_home / "pip" / "pip.conf",
    ]
    own = env.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        files = []
    elif own:
        files.append(Path(own))
    found: dict[str, str] = {}
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update((k.replace("_", "-"), v) for k, v in parser.items(section))
    for name, value in env.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def uv_environment(
    env: Mapping[str, str] = os.environ, pip: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Variables that make uv use the operator's index (in the environment: URLs hold passwords)."""
    if any(env.get(name) for name in UV_CHOICE):
        return {}
    settings = pip_settings(env) if pip is None else pip
    wanted: dict[str, str] = {}
    if url := settings.get("index-url", "").strip():
        wanted["UV_DEFAULT_INDEX"] = url
    if extra := settings.get("extra-index-url", "").split():
        wanted["UV_INDEX"] = " ".join(extra)
        # Every file is pinned by its hash, so it does not matter which index delivers it.
        wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if links := settings.get("find-links", "").split():
        wanted["UV_FIND_LINKS"] = ",".join(links)
    if hosts := settings.get("trusted-host", "").split():
        wanted["UV_INSECURE_HOST"] = " ".join(hosts)
    if (certificate := settings.get("cert", "").strip()) and not env.get("SSL_CERT_FILE"):
        wanted["SSL_CERT_FILE"] = certificate
    if proxy := settings.get("proxy", "").strip():
        wanted |= {n: proxy for n in ("HTTPS_PROXY", "HTTP_PROXY") if not env.get(n)}
    return wanted
