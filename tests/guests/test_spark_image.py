"""The machine of a Spark cluster under plain QEMU: let in as sahara is, with HDFS and Spark.

What sahara's plugin types is typed here, without a cloud around it. Runs after a cloud was brought
up, so that QEMU and genisoimage are installed.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from onestack.components.sahara.guest import RECIPE, USER
from onestack.model.cloud import CACHE
from tests.support.needs import needs_root
from tests.support.service_guest import ADDRESS, MAC, ServiceGuest, free_port, write_drive
from tests.unit.components.certificates import authority

pytestmark = [needs_root, pytest.mark.timeout(3600)]

NAME = "one"
SERVER = "10.0.2.3"
"""QEMU's own name server."""
CORE = {"fs.defaultFS": f"hdfs://{NAME}.novalocal:8020"}
HDFS = {
    "dfs.namenode.name.dir": "/mnt/dfs/nn",
    "dfs.datanode.data.dir": "/mnt/dfs/dn",
    "dfs.replication": "1",
    "dfs.hosts": "/etc/hadoop/dn.incl",
    "dfs.hosts.exclude": "/etc/hadoop/dn.excl",
}
COUNT = """
import sys
from operator import add
from pyspark import SparkContext
context = SparkContext(appName="words")
words = context.textFile(sys.argv[1]).flatMap(str.split)
words.map(lambda word: (word, 1)).reduceByKey(add).saveAsTextFile(sys.argv[2])
context.stop()
"""

TRUSTED = """
import java.security.KeyStore;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
public class Trusted {
    public static void main(String[] none) throws Exception {
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init((KeyStore) null);
        X509TrustManager manager = (X509TrustManager) factory.getTrustManagers()[0];
        for (var one : manager.getAcceptedIssuers())
            System.out.println(one.getSubjectX500Principal());
    }
}
"""


def user_data(public: str) -> str:
    """As sahara has the orchestration service pack it."""
    script = f'#!/bin/bash\necho "{public}" >> /home/{USER}/.ssh/authorized_keys\n'
    whole = MIMEMultipart()
    for content, name, kind in (
        ("#cloud-config\n", "cloud-config", "cloud-config"),
        (script, "cfn-userdata", "x-cfninitdata"),
    ):
        part = MIMEText(content, _subtype=kind, _charset="us-ascii")
        part.add_header("Content-Disposition", "attachment", filename=name)
        whole.attach(part)
    return whole.as_string()


def site(values: dict[str, str]) -> str:
    lines = (f"<property><name>{n}</name><value>{v}</value></property>" for n, v in values.items())
    return f"<configuration>{''.join(lines)}</configuration>"


class SparkGuest(ServiceGuest):
    key: Path
    port: int

    def type(self, command: str, seconds: float = 300, given: str = "") -> str:
        words = ["ssh", "-i", str(self.key), "-p", str(self.port), "-o", "StrictHostKeyChecking=no"]
        words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        done = subprocess.run(
            [*words, f"{USER}@127.0.0.1", command],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def put(self, path: str, text: str) -> None:
        self.type(f"cat >{path}", given=text)

    def let_in(self, seconds: float = 600) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                self.type("ls .ssh/authorized_keys", 30)
                return
            except (AssertionError, subprocess.TimeoutExpired):
                assert time.monotonic() < until, self.console()
                time.sleep(2)

    def live(self, seconds: float = 600) -> None:
        until = time.monotonic() + seconds
        report = 'sudo su -lc "hdfs dfsadmin -report" hdfs'
        while "Live datanodes (1)" not in self.type(f"{report} || true"):
            assert time.monotonic() < until
            time.sleep(5)


@pytest.fixture(scope="module")
def guest() -> Iterator[SparkGuest]:
    with tempfile.TemporaryDirectory(prefix="spark-guest-") as folder:
        place = Path(folder)
        key, port = place / "key", free_port()
        words = ["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", ""]
        for file in (key, place / "owners"):
            subprocess.run([*words, "-f", str(file)], check=True)
        sahara, owner = (file.with_suffix(".pub").read_text() for file in (key, place / "owners"))
        drive = write_drive(place, user_data(sahara.strip()), NAME, {"mine": owner}, [SERVER])
        forward = f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:22"
        devices = ["-netdev", forward, "-device", f"virtio-net-pci,netdev=n,mac={MAC}"]
        image = RECIPE.build(CACHE / "images")
        made = SparkGuest(place, image, drive, devices, memory=2560, disk="6G")
        made.key, made.port = key, port
        made.start()
        try:
            yield made
        finally:
            made.kill()


def test_its_owner_is_let_in(guest: SparkGuest) -> None:
    guest.wait("the script of the user data was run")
    guest.let_in()
    # The keypair's owner too.
    key = guest.key
    guest.key = key.with_name("owners")
    assert guest.type("id -un").strip() == USER
    guest.key = key
    assert guest.type("sudo id -u").strip() == "0"
    assert guest.type("sudo su -lc 'id -un' hdfs").strip() == "hdfs"
    # What sahara does to every machine.
    name = f"{NAME}.novalocal"
    guest.put("etc-hosts", f"127.0.0.1 localhost\n{ADDRESS} {name} {NAME}\n")
    guest.type(
        f"sudo hostname {name}; sudo cp etc-hosts /etc/hosts; sudo usermod -s /bin/bash $USER"
    )
    guest.type("lsblk -r | awk '$6 ~ /disk/ || /part/ {print \"/dev/\" $1}'; /sbin/blkid --version")
    assert "ID=debian" in guest.type("cat /etc/os-release")


def test_it_asks_the_name_servers_that_it_was_told(guest: SparkGuest) -> None:
    assert f"nameserver {SERVER}" in guest.type("cat /etc/resolv.conf").splitlines()
    # Where nobody knows a name, that is said soon.
    guest.type("! getent hosts no-such-name.invalid", 60)


def test_java_trusts_whom_it_is_told(guest: SparkGuest) -> None:
    """As sahara tells it; a program then asks as all do, without the store's password."""
    made = authority(guest.place)
    guest.put("/tmp/cert.pem", made.ca.read_text())
    store = r"`cut -f2 -d \"=\" /etc/profile.d/99-java.sh | head -1`/lib/security/cacerts"
    guest.type(
        f'sudo su - -c "keytool -import -alias sahara-0 -keystore {store} '
        '-file /tmp/cert.pem -noprompt -storepass changeit"'
    )
    guest.put("Trusted.java", TRUSTED)
    assert len(guest.type("java Trusted.java").splitlines()) == 1


def test_hdfs_comes(guest: SparkGuest) -> None:
    guest.type("sudo chown -R $USER:$USER /etc/hadoop /opt/spark")
    guest.put("/etc/hadoop/conf/core-site.xml", site(CORE))
    guest.put("/etc/hadoop/conf/hdfs-site.xml", site(HDFS))
    guest.put("/etc/hadoop/dn.incl", f"{NAME}.novalocal\n")
    guest.put("/etc/hadoop/dn.excl", "")
    guest.type("sudo mkdir -p /mnt/dfs/nn /mnt/dfs/dn && sudo chown -R hdfs:hadoop /mnt/dfs")
    guest.type("sudo -u hdfs hadoop namenode -format", 600)
    for name in ("namenode", "datanode"):
        guest.type(f"sudo service hadoop-hdfs-{name} start")
    guest.live()
    guest.type("sudo -u hdfs hdfs dfs -mkdir -p /user/$USER/")
    guest.type("sudo -u hdfs hdfs dfs -chown $USER /user/$USER/")


def test_a_job_counts_words(guest: SparkGuest) -> None:
    guest.put(
        "/opt/spark/conf/spark-env.sh",
        f"SPARK_MASTER_IP={NAME}.novalocal\nHADOOP_CONF_DIR=/etc/hadoop/conf",
    )
    guest.put("/opt/spark/conf/slaves", f"{NAME}.novalocal")
    guest.put(
        "/opt/spark/conf/spark-defaults.conf",
        "spark.executor.extraClassPath /usr/lib/hadoop-mapreduce/hadoop-openstack.jar",
    )
    guest.put("id_rsa", guest.key.read_text())
    guest.type(
        "sudo cp $HOME/id_rsa $HOME/.ssh/; sudo chown $USER $HOME/.ssh/id_rsa; "
        "sudo chmod 600 $HOME/.ssh/id_rsa"
    )
    guest.type("bash /opt/spark/sbin/start-all.sh", 600)
    guest.put("words", "a b a c a b\n")
    guest.put("count.py", COUNT)
    guest.type("hdfs dfs -put words words", 600)
    place = f"hdfs://{NAME}.novalocal:8020/user/{USER}"
    submit = f"/opt/spark/bin/spark-submit --class x --master spark://{NAME}.novalocal:7077"
    # As sahara's launcher does it.
    guest.type(f"env -i {submit} --deploy-mode client count.py {place}/words {place}/out", 1500)
    counted = guest.type("hdfs dfs -cat 'out/part-*'", 600)
    assert sorted(counted.split("\n")[:-1]) == ["('a', 3)", "('b', 2)", "('c', 1)"]
    guest.type("bash /opt/spark/sbin/stop-all.sh", 600)


def test_after_a_restart_hdfs_is_back(guest: SparkGuest) -> None:
    guest.press_power()
    guest.start()
    guest.let_in()
    guest.live()
    assert guest.type("hdfs dfs -cat words", 600) == "a b a c a b\n"
    # The script of its user data was run once, after the owner's key was written.
    assert guest.type("wc -l <.ssh/authorized_keys").strip() == "2"
    assert f"nameserver {SERVER}" in guest.type("cat /etc/resolv.conf").splitlines()
