"""All keys there are: the components' own, the common ones, and packstack's table."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onestack.answers import common, table
from onestack.answers.values import Answers
from onestack.model.key import Class, Key, Kind
from onestack.model.secret import Secret


@dataclass(frozen=True)
class Group:
    """Keys that stand together in an answer file."""

    title: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Registry:
    """``keys`` holds every known name once; ``targets`` older names to today's."""

    keys: Mapping[str, Key]
    groups: tuple[Group, ...]
    targets: Mapping[str, str]
    secrets: Mapping[str, Secret]
    """All that are declared, by name."""

    @property
    def accounts(self) -> frozenset[str]:
        """Services' users in keystone: nobody else may have their names."""
        return frozenset({s.account for s in self.secrets.values()} - {""})

    def nearest(self, name: str) -> str | None:
        """The known key most like ``name``, if any is near."""
        known = [*self.keys, *self.targets]
        # Its name until Havana; many more keys have it in today's.
        name = name.replace("QUANTUM", "NEUTRON")
        if name in known:
            return name
        for cutoff in (0.75, 0.6):
            if found := difflib.get_close_matches(name, known, 1, cutoff):
                return found[0]
        short = [k for k in known if k.removeprefix("CONFIG_") == name.removeprefix("CONFIG_")]
        return short[0] if short else None

    def answers(self, given: Mapping[str, str] | None = None) -> Answers:
        """`Answers` without the checks of `validate` (raises `BadValue`)."""
        return Answers(self.keys, given)


def build(
    declared: Iterable[tuple[str, Iterable[Key]]], secrets: Iterable[Secret] = ()
) -> Registry:
    """A registry of ``declared`` (title, keys), all keys that nobody declared, and ``secrets``.

    Raises `ValueError` when two components declare one key or one secret differently, and
    when a secret names a key that is none of a secret.
    """
    rows = table.rows()
    keys: dict[str, Key] = {}
    targets: dict[str, str] = {row.key.name: row.target for row in rows.values() if row.target}
    groups: list[Group] = []
    for title, those in (("General", common.KEYS), *declared):
        mine: list[Key] = []
        for key in those:
            for alias in key.aliases:
                targets[alias] = key.name
            targets.pop(key.name, None)
            if key.name not in keys:
                mine.append(key)
            elif keys[key.name] != key:
                raise ValueError(f"{key.name} is declared twice, differently")
            keys[key.name] = key
        groups.append(Group(title, tuple(mine)))
    titles = {
        Class.MAPPED: "Packstack's keys that have a counterpart here",
        Class.IGNORED: "Packstack's keys that are accepted and have no effect",
        Class.REFUSED: "Packstack's keys that are refused unless left at their default",
    }
    for outcome, title in titles.items():
        rest = [r for r in rows.values() if r.key.outcome is outcome and r.key.name not in keys]
        groups.append(Group(title, tuple(r.key for r in rest if not r.old)))
        keys.update({r.key.name: r.key for r in rest})
    # A declared name must not also be redirected to another key.
    targets = {old: new for old, new in targets.items() if new in keys and old != new}
    for old, new in targets.items():
        if old in keys:
            aliases = tuple(dict.fromkeys((*keys[new].aliases, old)))
            keys[new] = dataclasses.replace(keys[new], aliases=aliases)
    shown = tuple(g for g in groups if g.keys)
    return Registry(keys, shown, targets, _by_name(secrets, keys))


def _by_name(secrets: Iterable[Secret], keys: Mapping[str, Key]) -> Mapping[str, Secret]:
    found: dict[str, Secret] = {}
    for secret in secrets:
        if found.setdefault(secret.name, secret) != secret:
            raise ValueError(f"the secret {secret.name} is declared twice, differently")
        if secret.key and (secret.key not in keys or keys[secret.key].kind is not Kind.SECRET):
            raise ValueError(f"{secret.key}, of the secret {secret.name}, is no key of a secret")
    return found


@functools.cache
def registry() -> Registry:
    """The registry of this program: imports every component."""
    import onestack.components as components

    known = getattr(components, "ALL", ())
    declared = ((c.title or c.name, c.keys) for c in known)
    return build(declared, (secret for c in known for secret in c.secrets))
