"""What a controller's door is told by `up`: plain data, in a file of its own (0640)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from onestack.cluster.accounts import account
from onestack.cluster.membership import Member
from onestack.cluster.protocol import Projection, Standing
from onestack.model.codec import from_plain, to_plain

ACCOUNTS = ("identity", "messaging")
"""Services at which each host has an account."""


@dataclass(frozen=True)
class Shared:
    """What all hosts with a role are told."""

    answers: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class DoorSettings:
    cloud: str
    release: str
    controller: str
    """The controller's name."""
    address: str
    folder: str
    """Where the list of hosts is kept."""
    ca: str
    """The hosts' authority (PEM file)."""
    ca_key: str
    authority: str
    """PEM file of what the front's certificates are by."""
    peers: str
    """The authority (PEM file) of what hosts show to each other."""
    peers_key: str
    peers_revoked: str
    purposes: tuple[str, ...]
    """What hosts are to show to each other: `protocol.PEERS`."""
    accounts: str = field(repr=False)
    """The secret that hosts' passwords are made of."""
    shared: dict[str, Shared]
    """Role to what its hosts are told."""
    admit: tuple[str, ...]
    """The command that makes on the controller what a new host needs there."""
    edition: str = ""
    """File that says which onestack the controller has."""
    asked: str = ""
    """Where questions for hosts are found (`cluster.asking`)."""

    @classmethod
    def read(cls, path: Path) -> DoorSettings:
        """Raises `OSError` and `ValueError`."""
        return from_plain(cls, json.loads(path.read_text(encoding="utf-8")))

    def to_json(self) -> str:
        return json.dumps(to_plain(self), indent=1, sort_keys=True) + "\n"

    def standing(self, member: Member) -> Standing:
        """All that the host is told of itself and its cloud. Raises `OSError`."""
        shared = [self.shared[role] for role in member.roles if role in self.shared]
        own = {
            service: account(self.accounts, member.name, member.identity, service)
            for service in ACCOUNTS
        }
        told = Projection(
            controller=self.controller,
            address=self.address,
            release=self.release,
            answers={k: v for each in shared for k, v in each.answers.items()},
            secrets={k: v for each in shared for k, v in each.secrets.items()},
            accounts=own,
            authority=Path(self.authority).read_text(encoding="ascii"),
            purposes=self.purposes,
            peers=Path(self.peers).read_text(encoding="ascii"),
            revoked=Path(self.peers_revoked).read_text(encoding="ascii"),
        )
        return Standing(
            cloud=self.cloud,
            name=member.name,
            number=member.number,
            identity=member.identity,
            roles=member.roles,
            address=member.address,
            certificate=member.certificate,
            admitted=member.admitted,
            projection=told,
        )
