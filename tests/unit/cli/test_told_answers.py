"""Answers on a host that has joined: the controller's count, and it is they that it checked."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from onestack.answers import facter
from onestack.answers.packstack_file import AnswerLine
from onestack.answers.registry import registry
from onestack.answers.validate import check
from onestack.cli.options import answer_options, resolve_answers, rules
from onestack.cluster.client import Place
from onestack.cluster.protocol import Projection, Standing
from onestack.components import ALL
from onestack.components.door import shared
from onestack.deploy.joining import Places, keep
from onestack.deploy.up import cloud_steps
from onestack.model.cloud import Cloud
from onestack.model.errors import BadAnswers
from tests.support.joined import elsewhere, member
from tests.unit.cluster.test_clouds import Nobody
from tests.unit.components.rooms import context
from tests.unit.components.upstream import write_upstream

OPERATORS = {
    "CONFIG_ONESTACK_SSL_CERT": "/nonexistent/cloud.pem",
    "CONFIG_ONESTACK_SSL_KEY": "/nonexistent/cloud.key",
    "CONFIG_VNC_SSL_CERT": "/nonexistent/vnc.pem",
    "CONFIG_VNC_SSL_KEY": "/nonexistent/vnc.key",
    "CONFIG_SSL_CACERT_SELFSIGN": "n",
    "CONFIG_SSL_CACERT_FILE": "/nonexistent/ca.pem",
    "CONFIG_SSL_CACERT_KEY_FILE": "/nonexistent/ca.key",
}
BACKENDS = {
    "CONFIG_CINDER_BACKEND": "solidfire",
    "CONFIG_CINDER_SOLIDFIRE_LOGIN": "admin",
    "CONFIG_CINDER_SOLIDFIRE_HOSTNAME": "solidfire.example.com",
}
LDAP = {
    "CONFIG_KEYSTONE_IDENTITY_BACKEND": "ldap",
    "CONFIG_KEYSTONE_LDAP_URL": "ldap://ldap.example.com",
    "CONFIG_KEYSTONE_LDAP_USER_DN": "cn=reader,dc=example,dc=com",
}
PCI = {"CONFIG_NOVA_PCI_ALIAS": '[{"name": "gpu", "vendor_id": "10de", "product_id": "1db4"}]'}
BASE = {"CONFIG_NEUTRON_L2_AGENT": "ovn", "CONFIG_ONESTACK_JOIN": "y"}


@pytest.fixture
def host(tmp_path: Path) -> Cloud:
    cloud = Cloud("onestack", tmp_path)
    Places.of(cloud).folder.mkdir(parents=True)
    return cloud


def tell(cloud: Cloud, told: dict[str, str]) -> None:
    projection = Projection("head", "192.0.2.1", "2026.2", told)
    standing = Standing(
        cloud="onestack",
        name="web1",
        number=1,
        identity="i",
        roles=("compute",),
        address="192.0.2.7",
        certificate="",
        admitted=True,
        projection=projection,
    )
    keep(Places.of(cloud), Place("192.0.2.1"), standing)


def resolved(cloud: Cloud, *words: str) -> tuple[dict[str, object], tuple[str, ...]]:
    parser = argparse.ArgumentParser()
    answer_options(parser)
    found = resolve_answers(cloud, parser.parse_args(words))
    return dict(found.answers), found.notices


@pytest.mark.parametrize("more", [OPERATORS, BACKENDS, LDAP, PCI])
def test_files_and_secrets_of_the_controllers_are_not_missed(
    host: Cloud, more: dict[str, str]
) -> None:
    layer = [AnswerLine(name, text, "test") for name, text in {**BASE, **more}.items()]
    _, report = check(registry(), [layer], rules())
    assert report.problems, "on a controller without them they are"
    tell(host, {**BASE, **more})
    answers, notices = resolved(host)
    meant = registry().answers({**BASE, **more})
    assert {name: answers[name] for name in more} == {name: meant[name] for name in more}
    assert notices == ()


def test_what_is_wrong_with_the_hosts_own_is_said(host: Cloud) -> None:
    tell(host, {**BASE, **OPERATORS})
    wrong = "CONFIG_NOVA_LIBVIRT_VIRT_TYPE=xen"
    with pytest.raises(BadAnswers) as problem:
        resolved(host, "--set", wrong)
    assert "CONFIG_NOVA_LIBVIRT_VIRT_TYPE" in problem.value.why
    assert "SSL" not in problem.value.why
    answers, _ = resolved(host, "--set", "CONFIG_NOVA_LIBVIRT_VIRT_TYPE=qemu")
    assert answers["CONFIG_NOVA_LIBVIRT_VIRT_TYPE"] == "qemu"


def test_the_clouds_are_not_the_hosts_to_say(host: Cloud, tmp_path: Path) -> None:
    tell(host, BASE)
    with pytest.raises(BadAnswers, match="CONFIG_ONESTACK_JOIN: that is the cloud's") as problem:
        resolved(host, "--set", "CONFIG_ONESTACK_JOIN=n")
    assert problem.value.cure.startswith("on the controller: onestack up --set")
    with pytest.raises(BadAnswers, match="--defaults mitaka"):
        resolved(host, "--defaults", "mitaka")
    file = tmp_path / "answers"
    file.write_text("[general]\nCONFIG_ONESTACK_JOIN=y\nCONFIG_DEBUG_MODE=n\n")
    resolved(host, "--answer-file", str(file))
    with pytest.raises(BadAnswers, match="cannot be used"):
        resolved(host, "--set", "CONFIG_NOTHING=1")


def test_facts_are_the_controllers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(facter.FACTS, "processorcount", lambda: "48")
    ctx = context(tmp_path, *ALL, **BASE, CONFIG_SERVICE_WORKERS="%{::processorcount}")
    assert shared.answers(ctx)["CONFIG_SERVICE_WORKERS"] == "48"


def test_such_a_clouds_host_is_made_without_them(tmp_path: Path) -> None:
    ctx = context(tmp_path, *ALL, **BASE, **OPERATORS, **BACKENDS, **PCI)
    write_upstream(ctx)
    there = elsewhere(ctx, member(ctx, "web1", "0b7c3a52-57a5-4b0c-a4f8-ba9876543210"))
    assert cloud_steps(there, Nobody(), dry_run=True)
    assert registry().answers(shared.answers(ctx))["CONFIG_VNC_SSL_CERT"]
