"""System users and groups: without a home, a shell or a password."""

from __future__ import annotations

import grp
import pwd
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from onestack.host.command import run
from onestack.host.ledger import Ledger
from onestack.model.change import Change, Undo
from onestack.model.cloud import DEFAULT_NAME

_lock = threading.Lock()
"""The tools lock /etc/passwd themselves, but give up instead of waiting long."""


def exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def group_exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def ensure_users(names: Iterable[str], ledger: Ledger) -> Iterator[Change]:
    """Each name as a system user with a group of the same name."""
    for name in dict.fromkeys(names):
        if exists(name) and group_exists(name):
            continue

        def make(name: str = name) -> None:
            # One that is named after no cloud is every cloud's.
            shared = {} if name.startswith(DEFAULT_NAME) else {"shared": True}
            ledger.record("user", name=name, **shared)
            with _lock:
                if not group_exists(name):
                    run(["groupadd", "--system", name], timeout=60, finish=True)
                if not exists(name):
                    words = f"useradd --system --gid {name} --no-create-home"
                    words += f" --home-dir /nonexistent --shell /usr/sbin/nologin {name}"
                    run(words.split(), timeout=60, finish=True)

        yield Change(f"make the system user {name}", make)


def undo_user(data: dict[str, Any]) -> None:
    name = str(data["name"])
    with _lock:
        if exists(name):
            run(["userdel", name], timeout=60, finish=True)
        # useradd --gid leaves the group to whoever made it.
        if group_exists(name):
            run(["groupdel", name], timeout=60, finish=True)


UNDO: Mapping[str, Undo] = {"user": undo_user}
