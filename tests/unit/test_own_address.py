"""All that a cloud has of its machine's address comes of one: nothing of a former one is left."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from onestack.cloudapi import identity
from onestack.components.haproxy import ensure_address
from onestack.components.haproxy.tls import ensure_tls
from onestack.components.openvswitch import settings
from onestack.components.ovn import chassis
from onestack.deploy.roster import roster_of
from onestack.model.change import Change
from onestack.model.context import Context
from onestack.model.host import Host
from tests.support.machines import machine
from tests.unit.components.upstream import write_upstream
from tests.unit.test_own_name import EVERYTHING, called

FORMER, NOW = "192.0.2.5", "203.0.113.77"


def at(root: Path, address: str, agent: str) -> Context:
    """The whole cloud on a machine that has this address."""
    ctx = called(root, "first", agent, **EVERYTHING)
    devices = {"lo": (), "eth0": (f"{address}/24",)}
    where = dict.fromkeys(("route_address", "public_address", "hostname_address"), address)
    facts = machine(hostname="first", **where, devices=devices, cloud_devices=devices)
    return dataclasses.replace(ctx, host=Host.alone(ctx.cloud, facts, "first"))


def done(changes: Iterable[Change]) -> list[str]:
    said = []
    for change in changes:
        said.append(change.what)
        change.do()
    return said


def upped(ctx: Context) -> list[str]:
    """What of an `up` goes into files, over what the one before it has left there."""
    ctx.model.evaluate()
    for file in (file for on in ctx.model for file in on.files):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_text(file.content)
    (ctx.cloud.etc / "tls").mkdir(exist_ok=True)
    return [*done(ensure_tls(ctx, "root")), *done(ensure_address(ctx))]


def naming(root: Path, address: str) -> Iterator[Path]:
    """All files that have it; a certificate has it as bytes, in a text of its own."""
    for path in (each for each in root.rglob("*") if each.is_file()):
        raw = path.read_bytes()
        if address.encode() in raw or (b"BEGIN CERT" in raw and _certifies(raw, address)):
            yield path


def _certifies(raw: bytes, address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return any(
        ip in names.value.get_values_for_type(x509.IPAddress)
        for certificate in x509.load_pem_x509_certificates(raw)
        for names in certificate.extensions
        if isinstance(names.value, x509.SubjectAlternativeName)
    )


@pytest.mark.parametrize("agent", ["openvswitch", "ovn"])
def test_nothing_of_a_former_address_is_left(tmp_path: Path, agent: str) -> None:
    """In the cloud's files after the second `up`, certificates among them."""
    former, now = (at(tmp_path, address, agent) for address in (FORMER, NOW))
    write_upstream(former)
    upped(former)
    before = {*naming(tmp_path, FORMER)}
    server = former.cloud.etc / "tls" / "server.pem"
    assert {server, former.cloud.etc / "clouds.yaml", former.cloud.address_file} <= before
    certificate = f"make the certificate for first, localhost, 127.0.0.1, {now.internal}, {NOW}"
    assert upped(now) == [certificate, f"write {now.cloud.address_file}"]
    assert [*naming(tmp_path, FORMER)] == []
    assert {*naming(tmp_path, NOW)} == before
    assert upped(now) == []


class Catalog:
    """As much of keystone as holds one."""

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        self.endpoints: dict[tuple[str, str], Any] = {}

    def create(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "id": body.get("type", "")}

    def update(self, kind: str, item: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        return {**item, **body}

    def urls(self) -> list[str]:
        return [each["url"] for each in self.endpoints.values()]


def test_the_catalog_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Catalog()
    monkeypatch.setattr(identity, "keystone_of", lambda _: held)
    monkeypatch.setattr(identity, "ensure_user", lambda *_: iter(()))
    counted = []
    for ctx in (at(tmp_path, address, "ovn") for address in (FORMER, NOW, NOW)):
        wanted = [each for on in ctx.model for each in on.identity]
        counted.append(
            len([w for each in wanted for w in done(identity.ensure_identity(ctx, each))])
        )
        own = [url for url in held.urls() if f"//{ctx.public}:" in url]
        assert len(own) == len({kind for kind, _ in held.endpoints}) > 5
        assert not any(f"//{(FORMER, NOW)[ctx.public == FORMER]}:" in url for url in held.urls())
    # each service once, and its three endpoints; then the public ones; then nothing
    assert counted == [4 * len(held.services), len(held.services), 0]


@pytest.mark.parametrize("agent", ["openvswitch", "ovn"])
def test_processes_and_the_switch_know_of_one(tmp_path: Path, agent: str) -> None:
    """Nor is it in what is started, nor in the switch's database, which no `up` empties."""
    said = {}
    for ctx in (at(tmp_path, address, agent) for address in (FORMER, NOW)):
        write_upstream(ctx)
        kept = [*settings(ctx), *(chassis(ctx) if agent == "ovn" else ())]
        assert not any(ctx.public in each for each in kept)
        said[ctx.public] = roster_of(ctx).to_json()
    assert FORMER in said[FORMER] and FORMER not in said[NOW]
    assert said[FORMER].replace(FORMER, NOW) == said[NOW]
