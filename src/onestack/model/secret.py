"""A secret of the cloud, declared beside the component that uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from onestack.model.host import Role

CONTROLLER = frozenset({Role.CONTROLLER})
ON_COMPUTES = CONTROLLER | {Role.COMPUTE}
ON_STORAGE = CONTROLLER | {Role.STORAGE}
OF_AGENTS = CONTROLLER | {Role.COMPUTE, Role.GATEWAY}
"""Neutron's agents are on hosts of both kinds."""


@dataclass(frozen=True)
class Secret:
    """``name`` is what components ask for; one that nobody declares does not exist."""

    name: str
    key: str = ""
    """The answer key by which the operator may set it."""
    account: str = ""
    """The user of the service in keystone whose password it is: nobody else may have that name."""
    roles: frozenset[Role] = CONTROLLER
    """Hosts with one of these roles may know it, and no other."""
    password: bool = True
    """Whether ``CONFIG_DEFAULT_PASSWORD`` stands for it when its key is left alone."""
    made: bool = True
    """Whether a random one is made when nobody gave one; else it is empty then."""


WITHHELD = "withheld-from-this-host:"
"""Begins what stands for a secret that a host may not know, in files that it does not have."""


class Secrets(Protocol):
    """A cloud's secrets by name: `onestack.answers.secrets.Secrets` has them."""

    def __getitem__(self, name: str, /) -> str: ...

    def known(self) -> frozenset[str]:
        """The values in use so far."""

    def looking(self) -> Secrets:
        """The same, which keep no new one."""
