"""The key that encrypts each project's own key, with which the project's secrets are encrypted.

There may be several: the first encrypts, all decrypt. What is kept is wrapped anew when
another one comes first; by which ones something may be encrypted, a file tells by digests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

from onestack.answers.values import split
from onestack.host.files import write_file
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Job

KEY = "CONFIG_ONESTACK_BARBICAN_KEK"
SECRET = "barbican_kek"
_LENGTH = 32
_RANDOM = re.compile(r"[0-9a-f]{32}")
"""As `onestack.answers.secrets` makes them."""


def wrong(text: str) -> str | None:
    if text == "PW_PLACEHOLDER":
        return None
    parts = split(text)
    if parts and all(_decoded(part) or _RANDOM.fullmatch(part) for part in parts):
        return None
    return "each key must be 32 bytes in base64 with - and _ (or what the cloud itself had made)"


def _decoded(text: str) -> bytes:
    """The 32 bytes that it stands for; empty if it does not."""
    try:
        found = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
    return found if len(found) == _LENGTH else b""


def wanted(ctx: Context) -> tuple[str, ...]:
    """As upstream reads them. A random secret is no such key: one is derived from it."""
    return tuple(map(_fernet, split(ctx.secrets[SECRET])))


def _fernet(text: str) -> str:
    if _decoded(text):
        return text
    derived = hmac.digest(text.encode(), b"barbican: key-encryption key", "sha256")
    return base64.urlsafe_b64encode(derived).decode()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _mark(ctx: Context) -> Path:
    return ctx.cloud.data / "barbican" / "wrapped"


def _used(ctx: Context) -> set[str]:
    """The digests of keys by which something may be encrypted; none before the first start."""
    try:
        return set(_mark(ctx).read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return set()


def _text(digests: set[str]) -> str:
    return "".join(f"{digest}\n" for digest in sorted(digests))


def mark(ctx: Context) -> ConfigFile:
    """Notes the first key beside the earlier one: written before the service is told of it."""
    used = _used(ctx) | {_digest(wanted(ctx)[0])}
    return ConfigFile(_mark(ctx), _text(used), mode=0o600)


def lost(ctx: Context) -> bool:
    """Whether a key by which something may be encrypted is none of the wanted ones."""
    return not _used(ctx) <= set(map(_digest, wanted(ctx)))


def ensure_wrapped(ctx: Context, config: Path) -> Iterator[Change]:
    """All is encrypted by the first key: only then may the others go."""
    first = {_digest(wanted(ctx)[0])}
    if _used(ctx) - first:
        run = "onestack.components.barbican.inside.jobs:rewrap"
        job = Job("barbican-rewrap", "barbican", run, {"config": [str(config)]})
        yield Change("encrypt the projects' keys by the new one", lambda: ctx.run_job(job))
        yield Change(
            "note that all is encrypted by it",
            lambda: write_file(_mark(ctx), _text(first), mode=0o600),
        )
