"""The machine of a database: what its image is made of."""

from __future__ import annotations

from pathlib import Path

from onestack.components.trove.guest.containers import finish
from onestack.images.service_guest import Recipe

RECIPE = Recipe(
    name="database-guest",
    title="the machine of a database",
    packages=(
        *("docker.io", "mariadb-server-core", "mariadb-client-core", "mariadb-client"),
        *("mariadb-backup", "postgresql-15", "locales", "tzdata", "passwd", "tar"),
        # Debian's kernel has it, and docker starts no container without its parser then.
        "apparmor",
    ),
    tree=Path(__file__).parent / "tree",
    distributions=("trove",),
    left_out=(
        *("alembic", "cmd2", "flask", "gunicorn", "lxml", "mako", "openstacksdk", "prompt-toolkit"),
        *("pygments", "werkzeug"),
        *("python-designateclient", "python-manilaclient", "python-mistralclient"),
        *("python-openstackclient", "python-troveclient", "rich", "rich-argparse"),
        *("testresources", "testscenarios", "tzdata", "wcwidth"),
    ),
    sources=("trove",),
    units=(
        *("containerd.service", "docker.service", "docker.socket", "docker-hostnic.socket"),
        *("database-registry.socket", "database-agent.service"),
    ),
    modules=("overlay",),
    pruned=(
        # Of docker: what only people and swarms use.
        *("usr/bin/docker", "usr/bin/dnet", "usr/sbin/dnet", "usr/bin/ovrouter"),
        *("usr/sbin/ovrouter", "usr/bin/ctr", "usr/bin/containerd-stress", "usr/bin/tini*"),
        *("usr/bin/containerd-shim", "usr/bin/containerd-shim-runc-v1", "usr/libexec/docker"),
        # Of the databases: just-in-time compilation, messages in other languages, Perl.
        *("usr/lib/postgresql/15/lib/bitcode", "usr/lib/postgresql/15/lib/llvmjit*"),
        *("usr/lib/x86_64-linux-gnu/libLLVM*", "usr/lib/x86_64-linux-gnu/libz3*"),
        *("usr/share/mysql/[a-df-z]*/errmsg.sys", "usr/share/mysql/estonian"),
        *("usr/lib/tmpfiles.d/postgresql-common.conf", "usr/share/postgresql-common"),
        *("usr/share/perl*", "usr/bin/perl*"),
        *("usr/lib/x86_64-linux-gnu/perl*", "usr/lib/x86_64-linux-gnu/libperl*"),
        *("usr/lib/llvm-14", "usr/share/llvm-14"),
    ),
    finish=finish,
    # The backup program keeps up to 2 GiB beside the database before it sends them.
    root_mib=4000,
    min_disk_gib=4,
    min_ram_mib=1024,
)
