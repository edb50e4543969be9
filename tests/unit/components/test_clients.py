"""The clients' room: credentials that a shell can read, commands that find the cloud."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from pathlib import Path

import pytest

from onestack.components.clients import Clients, tools
from onestack.model.context import Context
from tests.unit.components import rooms

CLIENTS = Clients()


def context(tmp_path: Path, netns: str | None = None, **given: str) -> Context:
    made = rooms.context(tmp_path, CLIENTS, name="a", **given)
    return dataclasses.replace(made, cloud=dataclasses.replace(made.cloud, netns=netns))


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


def test_no_proxy_of_the_operators_is_asked_for_what_is_here(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    path = tmp_path / "rc"
    path.write_text(content(ctx, "admin-openrc"))
    own = f"192.0.2.5,{ctx.internal}"
    for given, expected in (
        ({}, own),
        ({"no_proxy": "near"}, f"near,{own}"),
        ({"NO_PROXY": "near"}, f"near,{own}"),
        ({"no_proxy": "near", "NO_PROXY": "far"}, f"near,{own}"),
    ):
        command = f'. {path}; . {path}; echo "$no_proxy"'
        env = {"PATH": "/usr/bin:/bin", **given}
        done = subprocess.run(["sh", "-euc", command], capture_output=True, text=True, env=env)
        assert (done.stdout, done.stderr) == (f"{expected}\n", "")


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


@pytest.mark.parametrize(
    ("netns", "inside", "entered"),
    [
        (None, False, ""),
        ("onestack-a", False, "netns|exec|onestack-a|"),
        ("onestack-a", True, ""),
    ],
)
def test_a_tool_starts_where_the_cloud_is(
    tmp_path: Path, netns: str | None, inside: bool, entered: str
) -> None:
    ctx = context(tmp_path, netns)
    tool = tmp_path / "openstack"
    tool.write_text(content(ctx, "openstack"))
    program = ctx.release.clients.command("openstack")
    here = "1" if inside else "2"
    stand_ins = {
        program: 'printf "%s|" "$OS_CACERT" "$no_proxy" "$@"',
        tmp_path / "ip": 'printf "%s|" "$1" "$2" "$3"; shift 3; exec "$@"',
        tmp_path / "stat": f'case "$3" in /run/netns/*) echo 1 ;; *) echo {here} ;; esac',
    }
    for path, text in stand_ins.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NO_PROXY": "here"}
    done = subprocess.run(["sh", tool, "a b", "c"], capture_output=True, text=True, env=env)
    told = f"{tmp_path}/etc/tls/ca.pem|here,192.0.2.5,{ctx.internal}|a b|c|"
    assert done.stdout == f"{entered}{told}", done.stderr


def test_all_tools_or_none(tmp_path: Path) -> None:
    names = {f.path.name for f in CLIENTS.files(context(tmp_path))}
    every = ("openstack", "cinder", "glance", "heat", "neutron", "nova", "swift", "trove")
    assert tools(context(tmp_path)) == every
    assert names == {*every, "admin-openrc", "clouds.yaml"}
    names = {f.path.name for f in CLIENTS.files(context(tmp_path, CONFIG_CLIENT_INSTALL="n"))}
    assert names == {"admin-openrc", "clouds.yaml"}
