"""The machine of a Spark cluster: what is put where, and the commands that sahara calls in it."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from onestack.components.sahara.guest import RECIPE, hadoop
from onestack.images import guest, sources
from onestack.images.debian_root import copy_tree
from onestack.images.sources import Archive
from onestack.model.errors import OnestackError

TREE = RECIPE.tree
DEFAULTS = """<configuration>
<property><name>dfs.datanode.ipc.address</name><value>0.0.0.0:50020</value></property>
<property>
  <name>dfs.webhdfs.enabled</name>
  <value>{}</value>
</property>
</configuration>"""


def test_a_jar_is_known_by_its_name_without_version(tmp_path: Path) -> None:
    for name in (
        "jetty-6.1.26",
        "jetty-util-6.1.26",
        "htrace-core-3.1.0-incubating",
        "netty-all-4.1",
    ):
        (tmp_path / f"{name}.jar").touch()
    assert set(hadoop.jars(tmp_path)) == {"jetty", "jetty-util", "htrace-core", "netty-all"}


def jar(path: Path, answer: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hdfs-default.xml", DEFAULTS.format(answer))
    return path


def test_defaults_are_the_jars_own_but_one(tmp_path: Path) -> None:
    """Without the others a datanode does not start."""
    hadoop.write_defaults(jar(tmp_path / "h.jar", "true"), tmp_path)
    text = (tmp_path / "hdfs-default.xml").read_text()
    assert text == DEFAULTS.format("false")
    with pytest.raises(ValueError, match="another hdfs-default"):
        hadoop.write_defaults(jar(tmp_path / "h.jar", "perhaps"), tmp_path)


def test_what_is_corrected_is_as_it_was_expected(tmp_path: Path) -> None:
    """Two in a source that has one, or none, are another source."""
    source = tmp_path / "One.java"
    source.write_text("a.equals(b); a.equals(c);")
    hadoop.correct(source, ".equals(", ".equalsIgnoreCase(", 2)
    assert source.read_text() == "a.equalsIgnoreCase(b); a.equalsIgnoreCase(c);"
    with pytest.raises(ValueError, match="is another than"):
        hadoop.correct(source, ".equals(", ".equalsIgnoreCase(", 2)


@pytest.mark.parametrize(
    "rules", [TREE / "etc/sudoers.d/debian", guest.HERE / "rootfs/etc/sudoers"]
)
def test_nobody_is_asked_for_the_name_that_sahara_gives(rules: Path) -> None:
    """Until it has written the name down, a silent name server costs 40 s for each command."""
    assert re.search(r"^Defaults.*!fqdn", rules.read_text(), re.MULTILINE)


# -- where it comes from -----------------------------------------------------------


def test_of_an_archive_only_what_is_wanted_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.tar.gz"
    (tmp_path / "x-1").mkdir()
    for name in ("kept", "other"):
        (tmp_path / "x-1" / name).mkdir()
        (tmp_path / "x-1" / name / "file").write_text(name)
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(tmp_path / "x-1", "x-1")
    monkeypatch.setattr(sources, "_place", lambda *_: (whole.as_uri(), "d" * 64))
    monkeypatch.setattr(
        sources, "download", lambda url, path, digest: path.write_bytes(whole.read_bytes())
    )
    wanted = Archive("x", "1", "d" * 64, ("kept/*",))
    (tmp_path / "work").mkdir()
    sources.fetch_archive(wanted, tmp_path / "made", tmp_path / "work")
    found = [str(p.relative_to(tmp_path / "made")) for p in (tmp_path / "made").rglob("file")]
    assert found == ["x-1/kept/file"]
    # The whole is far more than what is kept.
    assert not list((tmp_path / "work").iterdir())
    with pytest.raises(OnestackError, match="not taken"):
        sources.fetch_archive(Archive("x", "1", "e" * 64, ()), tmp_path / "no", tmp_path / "work")


# -- in the guest ------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The guest's own files, its paths made those of a folder, and a java that says its words."""
    copy_tree(TREE, tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            text = path.read_text()
            for place in ("/etc/", "/opt/", "/run/", "/usr/lib/"):
                text = text.replace(place, f"{tmp_path}{place}")
            path.write_text(text)
    java = tmp_path / hadoop.JAVA / "bin/java"
    java.parent.mkdir(parents=True)
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    return tmp_path


def said(root: Path, program: str, *words: str) -> list[str]:
    ran = subprocess.run(
        ["bash", root / program, *words],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return ran.stdout.splitlines() if ran.returncode == 0 else [f"failed: {ran.stderr}"]


def test_hdfs_by_either_name(root: Path) -> None:
    for name in ("hdfs", "hadoop"):
        words = said(root, f"usr/bin/{name}", "dfs", "-ls", "/a b")
        assert words[-3:] == ["org.apache.hadoop.fs.FsShell", "-ls", "/a b"]
    server = said(root, "usr/bin/hdfs", "namenode", "-format")
    assert server[-2:] == ["org.apache.hadoop.hdfs.server.namenode.NameNode", "-format"]
    assert "-Xmx384m" in server
    assert "usage" in said(root, "usr/bin/hdfs", "yarn")[0]
    # Ours is found before the jars' own.
    path = server[server.index("-cp") + 1].split(":")
    assert path[1].endswith("/first") and path[2].endswith("/lib/*")


def test_what_sahara_writes_of_heaps_is_heeded(root: Path) -> None:
    """It puts lines before ours, and rewrites the places of logs."""
    file = root / "etc/hadoop/hadoop-env.sh"
    lines = file.read_text().splitlines()
    assert [line.split("=")[0] for line in lines if line.startswith("export")] == [
        "export HADOOP_LOG_DIR",
        "export HADOOP_SECURE_DN_LOG_DIR",
    ]
    file.write_text('HADOOP_DATANODE_OPTS="-Xmx99m"\n' + file.read_text())
    assert "-Xmx99m" in said(root, "usr/bin/hdfs", "datanode")


def test_spark_starts_on_every_host_of_the_list(root: Path) -> None:
    spark = root / "opt/spark"
    for name in ("bin", "conf", "programs"):
        (spark / name).mkdir()
    (spark / "bin/load-spark-env.sh").write_text(f". {root}/usr/lib/spark/defaults.sh\n")
    daemon = spark / "sbin/spark-daemon.sh"
    daemon.write_text('#!/bin/sh\necho "$@"\n')
    daemon.chmod(0o755)
    ssh = spark / "programs/ssh"
    ssh.write_text('#!/bin/sh\n[ "$2" != gone ] || exit 255\necho "on $2: ${3##*/}"\n')
    ssh.chmod(0o755)
    # As sahara writes them: no newline at the end.
    (spark / "conf/slaves").write_text("one\ntwo")

    def started(program: str) -> tuple[int, list[str]]:
        ran = subprocess.run(
            ["bash", spark / "sbin" / program],
            env={"PATH": f"{spark}/programs:/usr/bin:/bin", "SPARK_MASTER_IP": "m"},
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        return ran.returncode, ran.stdout.splitlines()

    code, lines = started("start-all.sh")
    assert code == 0 and lines[1:] == ["on one: start-worker.sh", "on two: start-worker.sh"]
    assert lines[0].startswith("start org.apache.spark.deploy.master.Master 1 --host m --port 7077")
    code, lines = started("stop-all.sh")
    assert code == 0 and lines[:2] == ["on one: stop-worker.sh", "on two: stop-worker.sh"]
    # What did not start is no success; what cannot be stopped is gone already.
    (spark / "conf/slaves").write_text("gone\ntwo")
    code, lines = started("start-all.sh")
    assert code == 1 and "on two: start-worker.sh" in lines
    assert started("stop-all.sh")[0] == 0


def test_a_worker_knows_its_master(root: Path) -> None:
    text = (TREE / "opt/spark/sbin/start-worker.sh").read_text()
    assert '"spark://$SPARK_MASTER_HOST:$SPARK_MASTER_PORT"' in text
    assert ". /usr/lib/spark/defaults.sh" in (Path(hadoop.__file__).read_text())


NETWORKD = """# This is private data. Do not parse.
OPER_STATE=routable
DNS={}
NTP=192.0.2.1
DOMAINS=
"""


@pytest.mark.parametrize("servers", ["192.0.2.53 10.9.0.2", ""])
def test_programs_find_the_name_servers_that_networkd_knows(root: Path, servers: str) -> None:
    state = root / "run/systemd/netif/state"
    state.parent.mkdir(parents=True)
    state.write_text(NETWORKD.format(servers))
    subprocess.run(["sh", root / "usr/lib/guest/resolv"], check=True, timeout=10)
    lines = (root / "etc/resolv.conf").read_text().splitlines()
    assert lines == ["options timeout:2", *(f"nameserver {each}" for each in servers.split())]
    assert (root / "etc/resolv.conf").stat().st_mode & 0o777 == 0o644


def test_names_are_asked_for_where_hosts_do_not_have_them() -> None:
    """What differs from other guests', and that it is kept up to date."""
    common, own = (
        place.joinpath("etc/nsswitch.conf").read_text().splitlines()
        for place in (guest.HERE / "service", TREE)
    )
    assert set(own) - set(common) == {"hosts: files dns"}
    assert {"guest-resolv.path", "guest-resolv.service"} <= set(RECIPE.units)
    units = TREE / "usr/lib/systemd/system"
    assert "PathChanged=/run/systemd/netif/state" in (units / "guest-resolv.path").read_text()
    assert "StartLimitIntervalSec=0" in (units / "guest-resolv.service").read_text()


@pytest.mark.parametrize(
    "script",
    [
        path
        for path in TREE.rglob("*")
        if (path.is_file() and path.read_bytes()[:2] == b"#!") or path.suffix == ".sh"
    ],
    ids=lambda path: path.name,
)
def test_scripts_are_a_shells(script: Path) -> None:
    shell = "sh" if script.read_text().startswith("#!/bin/sh") else "bash"
    subprocess.run([shell, "-n", script], check=True, timeout=10)


def test_what_a_service_starts_with_is_there() -> None:
    """Units that sahara names, and the users that they run as."""
    users = (TREE / "usr/lib/sysusers.d/spark.conf").read_text()
    for name in ("namenode", "datanode"):
        unit = (TREE / f"usr/lib/systemd/system/hadoop-hdfs-{name}.service").read_text()
        assert f"ExecStart=/usr/bin/hdfs {name}" in unit and "User=hdfs" in unit
    for user in hadoop.HOMES:
        assert f"u {user} " in users
    assert RECIPE.owner in hadoop.HOMES
