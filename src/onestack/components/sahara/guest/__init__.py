"""The machine of a Spark cluster: what its image is made of."""

from __future__ import annotations

from pathlib import Path

from onestack.components.sahara.guest.hadoop import finish
from onestack.images.service_guest import Recipe
from onestack.images.sources import Archive

PLUGIN, VERSION = "spark3", "3.5"
"""For which of sahara's plugins the image is, and which version of it."""
USER = "debian"
"""Who logs in, and may all."""

RECIPE = Recipe(
    name="spark-guest",
    title="the machine of a Spark cluster",
    packages=(
        *("openjdk-17-jre-headless", "openjdk-17-jdk-headless", "ca-certificates-java"),
        *("bash", "sudo", "passwd", "login", "openssh-server", "openssh-client", "curl"),
        *("netcat-openbsd", "procps", "cron", "ncurses-base", "sysvinit-utils"),
    ),
    # sudo and su ask it.
    unpacked=("libpam-modules",),
    tree=Path(__file__).parent / "tree",
    archives=(
        Archive(
            "pyspark",
            "3.5.9",
            "ea27adc39ddac9413b8951e45aa748cbed6c785971b81386efc41938f6243d93",
            ("deps/bin/*", "deps/jars/*", "deps/sbin/*", "deps/examples/*", "lib/*"),
        ),
        # The last kind with all of HDFS in it: those of today have its clients only.
        Archive(
            "pyspark",
            "2.4.8",
            "3a19b71b8dc8dd91ebc943604a05e1ab01bce052456d42937035632d852d78dc",
            ("deps/jars/*",),
        ),
        Archive(
            "sahara-extra",
            "18.0.0",
            "28c1b6ae79485b7bdbf65c51d30b353ddda803c8ff40f842206fb15744786552",
            ("hadoop-swiftfs/src/main/*",),
        ),
    ),
    units=(
        *("ssh.service", "guest-hostkeys.service", "cron.service"),
        *("guest-resolv.path", "guest-resolv.service"),
    ),
    owner=USER,
    pruned=(
        "usr/share/man",
        "usr/lib/jvm/*/jmods",
        "usr/lib/jvm/*/lib/ct.sym",
        "usr/lib/jvm/*/lib/src.zip",
        "usr/lib/jvm/*/demo",
    ),
    finish=finish,
    root_mib=4000,
    min_disk_gib=5,
    min_ram_mib=1536,
)
