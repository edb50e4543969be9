"""The command line clients: credentials for them, and commands that find this cloud.

The tools are upstream's, unmodified, in the release's clients environment
(pinned so that the legacy ``neutron``, ``cinder``, ``nova`` and the like are
among them). What is made here is ``ROOT/bin/TOOL``, which starts one inside
the cloud's network namespace if it has one, with the cloud's own CA trusted.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping

from onestack.model.component import Component
from onestack.model.context import Context
from onestack.model.declarations import ConfigFile, Directory
from onestack.model.key import Key, Kind

FIRST_WORD = """value=
for word in "$@"; do
    [ -z "$value" ] || { value=; continue; }
    case $word in
    --os-*=* | --os-beta-command) ;;
    --os-* | --log-file) value=1 ;;
    -* | help) ;;
"""
"""Looks for the command's first word, past the options before it; `help` stands before one."""
OLDER = "unset OS_VOLUME_API_VERSION"
"""Clients of earlier releases do not know today's."""


class Clients(Component):
    name = "clients"
    title = "Command line clients"
    clients = ("openstack",)
    keys = (
        Key(
            "CONFIG_CLIENT_INSTALL",
            "y",
            "Put the command line clients into ROOT/bin.",
            Kind.FLAG,
        ),
    )

    def packages(self, ctx: Context) -> Iterable[str]:
        # how one reaches a guest, and sees that it is there
        return ("iputils-ping", "openssh-client")

    def users(self, ctx: Context) -> Iterable[str]:
        return ()

    def directories(self, ctx: Context) -> Iterable[Directory]:
        yield Directory(ctx.cloud.bin, mode=0o755)

    def files(self, ctx: Context) -> Iterator[ConfigFile]:
        # Passwords are in these two: for root only.
        yield ConfigFile(ctx.cloud.etc / "admin-openrc", openrc(ctx), mode=0o600)
        yield ConfigFile(ctx.cloud.etc / "clouds.yaml", clouds_yaml(ctx), mode=0o600)
        if ctx.answers["CONFIG_CLIENT_INSTALL"]:
            for tool in tools(ctx):
                yield ConfigFile(ctx.cloud.bin / tool, wrapper(ctx, tool), mode=0o755)


def tools(ctx: Context) -> tuple[str, ...]:
    """Everybody's first, then those of all services: what is off may be on in another cloud."""
    every = {tool for room in (*ctx.components, *ctx.switched_off) for tool in room.clients}
    return (*Clients.clients, *sorted(every.difference(Clients.clients)))


def environment(ctx: Context) -> dict[str, str]:
    """What a client needs to be the administrator of this cloud."""
    return {
        "OS_AUTH_URL": ctx.public_url("identity"),
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": str(ctx.answers["CONFIG_KEYSTONE_ADMIN_USERNAME"]),
        "OS_PASSWORD": ctx.secrets["admin_keystone"],
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": str(ctx.answers["CONFIG_KEYSTONE_REGION"]),
        "OS_INTERFACE": "public",
        "OS_CACERT": str(ctx.authority),
        # The legacy clients ask for these; `cinder message-list` wants a recent microversion.
        "OS_VOLUME_API_VERSION": "3.70",
        "OS_IMAGE_API_VERSION": "2",
    }


def openrc(
    ctx: Context, other: Mapping[str, str] | None = None, who: str = "The administrator"
) -> str:
    """A file for a shell to source; ``other`` variables make it somebody else's."""
    lines = [f"# {who} of the cloud {ctx.cloud.name!r}. Made by onestack."]
    # Left over from another cloud, these would win over what follows.
    lines.append(
        "unset OS_CLOUD OS_TOKEN OS_SYSTEM_SCOPE OS_DOMAIN_NAME OS_PROJECT_ID OS_TENANT_ID"
    )
    variables = environment(ctx) | dict(other or {})
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append(without_proxy(ctx))
    place = shlex.quote(str(ctx.cloud.bin))
    lines.append(f'case ":$PATH:" in *:{place}:*) ;; *) export PATH={place}:"$PATH" ;; esac')
    return "\n".join(lines) + "\n"


def clouds_yaml(ctx: Context) -> str:
    """``clouds.yaml`` (JSON, which is YAML too), with one cloud by this cloud's name."""
    env = environment(ctx)
    cloud = {
        "auth": {
            "auth_url": env["OS_AUTH_URL"],
            "username": env["OS_USERNAME"],
            "password": env["OS_PASSWORD"],
            "project_name": env["OS_PROJECT_NAME"],
            "user_domain_name": env["OS_USER_DOMAIN_NAME"],
            "project_domain_name": env["OS_PROJECT_DOMAIN_NAME"],
        },
        "region_name": env["OS_REGION_NAME"],
        "interface": env["OS_INTERFACE"],
        "identity_api_version": 3,
        "cacert": env["OS_CACERT"],
    }
    return json.dumps({"clouds": {ctx.cloud.name: cloud}}, indent=2) + "\n"


def wrapper(ctx: Context, tool: str) -> str:
    """A small program that starts ``tool`` where this cloud can be reached."""
    name = ctx.cloud.netns
    enter = (
        # Whoever is inside already may not see the namespace by its name.
        f"there=$(stat -Lc %i /run/netns/{name} 2>/dev/null || stat -Lc %i /proc/self/ns/net)\n"
        '[ "$there" = "$(stat -Lc %i /proc/self/ns/net)" ] || '
        f'set -- ip netns exec {name} "$@"\n'
        if name
        else ""
    )
    choice, program = _program(ctx, tool)
    ca, clouds = (shlex.quote(str(p)) for p in (ctx.authority, ctx.cloud.etc / "clouds.yaml"))
    return (
        "#!/bin/sh\n"
        f"# {tool}, for the cloud {ctx.cloud.name!r}. Made by onestack.\n"
        f'[ -n "${{OS_CACERT-}}" ] || export OS_CACERT={ca}\n'
        # Only root may read the clouds file; a client that cannot would stop there.
        f'[ -n "${{OS_CLIENT_CONFIG_FILE-}}" ] || [ ! -r {clouds} ] || '
        f"export OS_CLIENT_CONFIG_FILE={clouds}\n"
        f"{without_proxy(ctx)}\n"
        f'{choice}set -- {program} "$@"\n{enter}exec "$@"\n'
    )


def without_proxy(ctx: Context) -> str:
    """A line of shell: no proxy of the operator's leads to this cloud. Twice it adds nothing."""
    own = f"{ctx.public},{ctx.internal}"
    added = f'no_proxy="${{no_proxy:+$no_proxy,}}{own}"'
    return (
        'no_proxy="${no_proxy:-${NO_PROXY-}}"; '
        f'case ",$no_proxy," in *",{own},"*) ;; *) {added} ;; esac; export no_proxy'
    )


def _program(ctx: Context, tool: str) -> tuple[str, str]:
    """Lines that choose, and the word for what is started.

    It is the clients' own, or for some commands one of an environment of theirs.
    """
    own = shlex.quote(str(ctx.release.clients.command(tool)))
    elsewhere = {
        word: ctx.release.environment(name).command(tool)
        for room in ctx.components
        for word, name in room.foreign_commands.items()
    }
    if tool not in Clients.clients or not elsewhere:
        return "", own
    cases = "".join(
        f"    {shlex.quote(word)}) program={shlex.quote(str(path))}; {OLDER}; break ;;\n"
        for word, path in sorted(elsewhere.items())
    )
    return f"program={own}\n{FIRST_WORD}{cases}    *) break ;;\n    esac\ndone\n", '"$program"'
