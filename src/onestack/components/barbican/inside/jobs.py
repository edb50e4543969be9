"""Barbican's one-time work, in a child of the zygote (services' environment)."""

from __future__ import annotations

from typing import Any

from onestack.components.barbican.inside import settings


def sync(arguments: dict[str, Any]) -> None:
    """Upstream's own migrations of the database ``barbican``."""
    settings.read(arguments["config"][0])
    from barbican.model.migration import commands

    commands.upgrade()


def rewrap(arguments: dict[str, Any]) -> None:
    """Encrypt each project's key by the first master key. Raises `InvalidToken` if one is not.

    Upstream's own way goes on after a key that it cannot decrypt, and says nothing by its end.
    """
    settings.read(arguments["config"][0])
    from barbican.cmd import simple_crypto
    from barbican.model import models
    from cryptography.fernet import Fernet

    rewrapper = simple_crypto.SimpleCryptoKEKRewrap(simple_crypto.CONF)
    rewrapper.execute(dry_run=False)
    first = Fernet(rewrapper.master_keys[0])
    with rewrapper.db_session.begin() as transaction:
        kept = transaction.session.query(models.KEKDatum.plugin_meta)
        for (wrapped,) in kept.filter_by(plugin_name=rewrapper.plugin_name):
            first.decrypt(wrapped)
