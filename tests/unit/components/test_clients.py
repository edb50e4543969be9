"""The clients' room: credentials that a shell can read, commands that find the cloud."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

from onestack.answers.registry import build
from onestack.answers.secrets import Secrets
from onestack.cloud import Cloud
from onestack.components.base import Context
from onestack.components.clients import TOOLS, Clients
from onestack.host.facts import gather
from onestack.release.release import release

CLIENTS = Clients()


def context(tmp_path: Path, netns: str | None = None, **given: str) -> Context:
    cloud = Cloud("a", tmp_path, netns)
    answers = build([(CLIENTS.title, CLIENTS.keys)]).answers(given)
    facts = dataclasses.replace(gather(cloud), public_address="192.0.2.5")
    secrets = Secrets(cloud.etc / "secrets.json", answers)
    return Context(cloud, answers, secrets, facts, release(cache=tmp_path / "cache"))


def content(ctx: Context, name: str) -> str:
    return next(f.content for f in CLIENTS.files(ctx) if f.path.name == name)


def test_openrc_is_what_a_shell_reads(tmp_path: Path) -> None:
    ctx = context(tmp_path, CONFIG_KEYSTONE_ADMIN_PW='it\'s "$PATH" `x`')
    path = tmp_path / "rc"
    path.write_text(content(ctx, "admin-openrc"))
    command = (
        f'. {path}; . {path}; printf "%s\\n" "$OS_PASSWORD" "$OS_AUTH_URL" "$OS_CACERT" "$PATH"'
    )
    clean = {"PATH": "/usr/bin:/bin", "OS_CLOUD": "other"}
    done = subprocess.run(["sh", "-euc", command], capture_output=True, text=True, env=clean)
    assert done.stderr == ""
    password, url, ca, path_now = done.stdout.splitlines()
    assert password == 'it\'s "$PATH" `x`'
    assert url == "https://192.0.2.5:5000/v3"
    assert ca == str(tmp_path / "etc" / "tls" / "ca.pem")
    assert path_now == f"{tmp_path}/bin:/usr/bin:/bin"


def test_passwords_are_for_root_only(tmp_path: Path) -> None:
    ctx = context(tmp_path, CONFIG_KEYSTONE_ADMIN_PW="centos")
    for file in CLIENTS.files(ctx):
        if "centos" in file.content:
            assert (file.mode, file.group) == (0o600, "root")
        else:
            assert file.mode == 0o755


def test_clouds_yaml_has_the_cloud_by_its_name(tmp_path: Path) -> None:
    cloud = json.loads(content(context(tmp_path), "clouds.yaml"))["clouds"]["a"]
    assert cloud["auth"]["auth_url"] == "https://192.0.2.5:5000/v3"
    assert cloud["cacert"].endswith("/etc/tls/ca.pem")


@pytest.mark.parametrize("netns", [None, "onestack-a"])
def test_a_tool_starts_where_the_cloud_is(tmp_path: Path, netns: str | None) -> None:
    ctx = context(tmp_path, netns)
    text = content(ctx, "openstack")
    tool = tmp_path / "openstack"
    tool.write_text(text)
    program = ctx.release.clients / "bin" / "openstack"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s|" "$OS_CACERT" "$@"\n')
    program.chmod(0o755)
    stand_in = tmp_path / "ip"
    stand_in.write_text('#!/bin/sh\nprintf "%s|" "$1" "$2" "$3"\nshift 3\nexec "$@"\n')
    stand_in.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", tool, "a b", "c"], capture_output=True, text=True, env=env)
    entered = f"netns|exec|{netns}|" if netns else ""
    assert done.stdout == f"{entered}{tmp_path}/etc/tls/ca.pem|a b|c|", done.stderr


def test_all_tools_or_none(tmp_path: Path) -> None:
    names = {f.path.name for f in CLIENTS.files(context(tmp_path))}
    assert names == {*TOOLS, "admin-openrc", "clouds.yaml"}
    names = {f.path.name for f in CLIENTS.files(context(tmp_path, CONFIG_CLIENT_INSTALL="n"))}
    assert names == {"admin-openrc", "clouds.yaml"}
