"""What hosts show to each other, made as the rooms make it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from onestack.cluster.membership import Member
from onestack.components import certificates
from onestack.components.door import Door, peers
from onestack.components.door.inside import issuing
from onestack.components.libvirt import Libvirt
from onestack.components.nova import Nova
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.host import Network
from tests.unit.components.rooms import context


def cloud(root: Path, move: str = "y") -> Context:
    ctx = context(
        root, Door(), Libvirt(), Nova(), CONFIG_ONESTACK_JOIN="y", CONFIG_ONESTACK_MOVE=move
    )
    here = {**ctx.host.addresses, Network.GUESTS: "127.0.0.2"}
    return dataclasses.replace(ctx, host=dataclasses.replace(ctx.host, addresses=here))


def made(ctx: Context, *gone: str) -> list[str]:
    """What was changed."""
    return done(
        peers.ensure_authority(ctx, "root", gone),
        peers.ensure_own(ctx),
        peers.ensure_shown(ctx),
        peers.ensure_carriers(ctx),
    )


def done(*steps: Iterable[Change]) -> list[str]:
    """All that they find missing, one after the other, as the next may need it."""
    found = []
    for step in steps:
        for change in step:
            change.do()
            found.append(change.what)
    return found


def shown(ctx: Context, purpose: str, folder: Path, name: str) -> tuple[Path, str]:
    """What a host called so shows, as libvirt's clients look for it, and its serial number."""
    key = certificates.new_key()
    folder.mkdir()
    (folder / "clientkey.pem").write_text(key)
    public, _ = issuing.requested(certificates.request(folder / "clientkey.pem"))
    of = Member(name, 1, f"id-of-{name}", ("compute",), "192.0.2.7", "", (), 0.0)
    ca = peers.ca(ctx), peers.ca_key(ctx)
    found = issuing.issued_for(purpose, *ca, public, of)
    (folder / "clientcert.pem").write_text(found.certificate)
    (folder / "cacert.pem").write_text(ca[0].read_text())
    return folder, found.serial
