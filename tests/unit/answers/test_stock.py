"""packstack's own defaults: what a new file says, and what a short one lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from onestack.answers import stock, table
from onestack.answers.packstack_file import AnswerLine
from onestack.answers.registry import registry
from onestack.model.key import Class

MACHINE = stock.Machine("192.0.2.5", "host.example.org")
PLACES = {"mitaka": 1, "latest": 2}
"""Columns of packstack_keys.tsv."""


def packstack(release: str) -> dict[str, str]:
    """Every default of packstack's as its source has it."""
    lines = (Path(__file__).parent / "packstack_keys.tsv").read_text().splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    return {row[0]: row[PLACES[release]] for row in rows}


@pytest.mark.parametrize("release", table.RELEASES)
def test_a_new_file_has_packstacks_defaults(release: str) -> None:
    """But for `stock.KEPT`, each of which is another one with a reason."""
    kept = {**stock.KEPT, **(stock.KEPT_IN_LATEST if release == "latest" else {})}
    found, theirs = set(), packstack(release)
    for key in registry().keys.values():
        row = table.rows().get(key.name)
        if row is None or release not in row.defaults or key.outcome is not Class.IMPLEMENTED:
            continue
        assert row.defaults[release] == theirs[key.name]
        if stock.default(key, release, MACHINE) != MACHINE.fill(theirs[key.name]):
            found.add(key.name)
    assert found <= {*kept}
    differ = {n for n in kept if MACHINE.fill(theirs[n]) != registry().keys[n].default}
    assert found == {n for n in differ if release in table.rows()[n].defaults}


def test_every_exception_is_one_in_some_release() -> None:
    for name in {**stock.KEPT, **stock.KEPT_IN_LATEST}:
        key = registry().keys[name]
        texts = [MACHINE.fill(words) for words in table.rows()[name].defaults.values()]
        assert any(text != key.default for text in texts), name


def test_the_machine_is_in_it() -> None:
    keys = registry().keys
    for name in ("CONFIG_CONTROLLER_HOST", "CONFIG_COMPUTE_HOSTS", "CONFIG_AMQP_HOST"):
        assert stock.default(keys[name], "mitaka", MACHINE) == "192.0.2.5"
    subject = keys["CONFIG_SSL_CERT_SUBJECT_MAIL"]
    assert stock.default(subject, "latest", MACHINE) == "admin@host.example.org"
    assert stock.default(subject, "latest", stock.Machine()) == ""
    # Nothing is at this host that is nowhere in the cloud.
    assert stock.default(keys["CONFIG_REDIS_MASTER_HOST"], "mitaka", MACHINE) == ""


def missing(release: str, text: str = "") -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split()]
    given = [AnswerLine(name, value, "f") for name, value in pairs]
    return {line.name: line.text for line in stock.missing(registry(), release, given)}


def test_what_a_file_lacks() -> None:
    services = {f"CONFIG_{name}_INSTALL" for name in ("HORIZON", "SWIFT", "CEILOMETER", "AODH")}
    on = dict.fromkeys([*services, "CONFIG_PROVISION_DEMO"], "y")
    assert missing("latest") == {**on, "CONFIG_CINDER_BACKEND": "lvm"}
    found = missing("mitaka")
    assert services < {*found}
    assert found["CONFIG_PROVISION_DEMO_FLOATRANGE"] == "172.24.4.224/28"
    # What follows from other answers is left to them.
    assert not [n for n in found if "_ML2_" in n or "_OVS_" in n or n.endswith("L2_AGENT")]


def test_what_a_file_says_is_not_lacking() -> None:
    assert "CONFIG_SWIFT_INSTALL" not in missing("latest", "CONFIG_SWIFT_INSTALL=n")
    assert "CONFIG_PROVISION_DEMO" not in missing("latest", "CONFIG_NEUTRON_INSTALL=n")
    assert "CONFIG_PROVISION_DEMO" in missing("latest", "CONFIG_NEUTRON_INSTALL=perhaps")


def test_what_packstack_has_no_more_is_a_comment_unless_something_reads_it() -> None:
    keys = registry().keys
    assert stock.gone(keys["CONFIG_NAGIOS_INSTALL"], "latest")
    assert not stock.gone(keys["CONFIG_NAGIOS_INSTALL"], "mitaka")
    for name in ("CONFIG_LBAAS_INSTALL", "CONFIG_NEUTRON_FWAAS", "CONFIG_ONESTACK_IMAGE"):
        assert not stock.gone(keys[name], "latest")
