"""A host's own accounts: nobody else has them, and nothing of them is kept.

Passwords come from one secret of the controller's and from the host's identity, which is another
one each time that a machine joins: what a removed host knows opens nothing for its successor.
"""

from __future__ import annotations

import hashlib
import hmac

from onestack.model.account import Account

PREFIX = "onestack-host-"
"""Begins the names of hosts' users."""


def account(secret: str, name: str, identity: str, service: str) -> Account:
    """The one of the host ``name`` at ``service`` (``identity``, ``messaging``)."""
    text = f"{service}\0{identity}".encode()
    password = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()[:32]
    return Account(f"{PREFIX}{name}", password)
