"""The secrets of a host that has joined: what it was handed, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from onestack.answers.secrets import UndeclaredSecret
from onestack.model.secret import WITHHELD, Secret, Secrets


class HandedSecrets:
    """For any other declared one a word stands that opens nothing.

    What would have it is a file of a controller's, which is made by the same declarations and is
    not written here; `onestack.deploy.up` writes none with that word in it. Raises
    `UndeclaredSecret` as the controller's own do.
    """

    def __init__(self, handed: Mapping[str, str], declared: Mapping[str, Secret]) -> None:
        self._handed = dict(handed)
        self._declared = declared

    def __getitem__(self, name: str) -> str:
        if name not in self._declared:
            raise UndeclaredSecret(name)
        return self._handed.get(name, f"{WITHHELD}{name}")

    def known(self) -> frozenset[str]:
        return frozenset(self._handed.values())

    def looking(self) -> Secrets:
        return self
