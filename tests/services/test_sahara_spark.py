"""A cluster of Spark and HDFS, whole: made, given a job, scaled and back, and gone.

Without KVM each of these takes minutes; how long is said.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.clouds import CloudUnderTest, run, wait_until
from tests.support.clusters import Clusters

pytestmark = pytest.mark.timeout(5400)
NAME = os.environ.get("ONESTACK_TEST_NAME", "spark")
ANSWERS = (
    "CONFIG_SAHARA_INSTALL=y",
    "CONFIG_ONESTACK_SAHARA_IMAGE=y",
    "CONFIG_PROVISION_DEMO=y",
    "CONFIG_CINDER_INSTALL=n",
    "CONFIG_SWIFT_INSTALL=y",
)
SSH = (
    "ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
    "-o ConnectTimeout=10 -o LogLevel=ERROR debian@{address} {command}"
)
PI = """
from operator import add
from random import Random
from pyspark import SparkContext
context = SparkContext(appName="pi")
def inside(seed):
    random = Random(seed)
    return sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(50000))
found = context.parallelize(range(4), 4).map(inside).reduce(add) / 50000
context.parallelize(["%.1f" % found], 1).saveAsTextFile("/user/debian/pi")
context.stop()
"""
COUNT = """
import sys
from operator import add
from pyspark import SparkContext
context = SparkContext(appName="words")
words = context.textFile(sys.argv[1]).flatMap(str.split)
words.map(lambda word: (word, 1)).reduceByKey(add).saveAsTextFile(sys.argv[2])
context.stop()
"""
MANY = (
    "mkdir many; for i in $(seq 16); do head -c 1048576 /dev/urandom >many/$i; done; "
    "md5sum many/* >sums; hdfs dfs -put many ."
)
"""Each file is on one of the datanodes, whichever."""


class Spark(Clusters):
    def __init__(self, cloud: CloudUnderTest, work: Path) -> None:
        super().__init__(cloud)
        self.work, self.key = work, work / "key"
        self.master = ""
        """The master's floating IP."""

    def there(self, command: str, timeout: float = 600) -> str:
        line = SSH.format(key=self.key, address=self.master, command=shlex.quote(command))
        return self.cloud.type(line, timeout=timeout)

    def job(self, name: str, program: str, *arguments: str) -> None:
        """Run to its end, which must be a good one."""
        file = self.work / f"{name}.py"
        file.write_text(program)
        self.ask(f"job binary create --name {name}.py --data {file}")
        self.run(name, *arguments)

    def run(self, name: str, *arguments: str, configs: str = "") -> None:
        """Of the binary ``NAME.py``."""
        self.ask(f"job template create --name {name} --type Spark --mains {name}.py")
        said = self.cloud.type(
            f"openstack dataprocessing job execute --job-template {name} --cluster words "
            f"--configs edp.java.main_class:x {configs} --args {' '.join(arguments) or 'none'}"
        )
        job = re.findall(r'Job "([^"]+)" has been started', said)[0]

        def ended() -> bool:
            status = self.ask(f"job show {job}")["Status"]
            if status in ("FAILED", "KILLED", "DONEWITHERROR"):
                told = self.there(f"tail -n 60 /tmp/spark-edp/{name}/{job}/std*")
                raise AssertionError(f"{status}\n{told}")
            return bool(status == "SUCCEEDED")

        wait_until(f"the job {name}", ended, 1800, 5)

    def report(self) -> str:
        return self.there("sudo su -lc 'hdfs dfsadmin -report' hdfs")

    def live(self) -> int:
        return int(re.findall(r"Live datanodes \((\d+)\)", self.report())[0])

    def used(self) -> list[int]:
        """Bytes that each datanode has; the first line is of all."""
        return [int(text) for text in re.findall(r"^DFS Used: (\d+)", self.report(), re.M)[1:]]

    def lives(self, nodes: int) -> None:
        """HDFS has that many. It misses one after 630 s, for which it looks every five minutes."""
        wait_until(f"{nodes} datanodes", lambda: self.live() == nodes, 1200, 10)

    def scale(self, workers: int) -> None:
        self.cloud.type(
            f"openstack dataprocessing cluster scale words --instances spark-worker:{workers}"
        )
        # Before that has an answer, the cluster is none that is Active.
        self.active("words", 2400)


def timed(what: str, until: Callable[[], object]) -> None:
    """For the figures."""
    began = time.monotonic()
    until()
    print(f"{what}: {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    layout = os.environ.get("ONESTACK_TEST_LAYOUT", "ovn")
    cloud = CloudUnderTest(NAME, answers=(f"CONFIG_NEUTRON_L2_AGENT={layout}", *ANSWERS))
    with cloud.living(timeout=2400):
        yield Spark(cloud, tmp_path_factory.mktemp("spark"))


def test_a_cluster_of_the_template(spark: Spark) -> None:
    cloud = spark.cloud
    run(["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", str(spark.key)])
    cloud.type(f"openstack keypair create --public-key {spark.key}.pub words")
    (image,) = [i["Name"] for i in spark.ask("image list") if i["Name"].startswith("spark-guest")]
    spark.ask(
        f"cluster create --name words --cluster-template spark --image {image} "
        "--user-keypair words --neutron-network private"
    )
    timed("create to Active", lambda: spark.active("words", 2400))
    master = next(s for s in spark.json("server list") if "master" in s["Name"])
    shown = cloud.type(f"openstack server show {master['ID']} -f value -c addresses")
    public = cloud.type("openstack floating ip list -f value -c 'Floating IP Address'").split()
    spark.master = next(address for address in public if address in shown)
    spark.lives(1)


def test_pi(spark: Spark) -> None:
    timed("Pi", lambda: spark.job("pi", PI))
    assert spark.there("hdfs dfs -cat 'pi/part-*'").strip() == "3.1"


def test_words_are_counted(spark: Spark) -> None:
    """From HDFS and to it."""
    spark.there("printf 'a b a c a b\\n' >words && hdfs dfs -put words words")
    arguments = ("/user/debian/words", "/user/debian/out")
    timed("a word count", lambda: spark.job("count", COUNT, *arguments))
    counted = spark.there("hdfs dfs -cat 'out/part-*'").split("\n")
    assert sorted(counted[:-1]) == ["('a', 3)", "('b', 2)", "('c', 1)"]


def test_words_in_the_object_store(spark: Spark) -> None:
    """Program, input and output, by a user made for the job, with its owner's trust."""
    cloud, work = spark.cloud, spark.work
    (work / "stored.py").write_text(COUNT)
    (work / "in").write_text("a b\na c\n")
    cloud.type(
        f"set -e; cd {work}; openstack container create words; "
        "openstack object create words in stored.py"
    )
    spark.ask("job binary create --name stored.py --url swift://words/stored.py")
    arguments = ("swift://words/in", "swift://words/out")
    swift = "edp.spark.adapt_for_swift:True"
    timed("with Swift", lambda: spark.run("stored", *arguments, configs=swift))
    found = cloud.type("openstack object list words -f value -c Name").split()
    counted = [
        cloud.type(f"openstack object save --file - words {name}")
        for name in found
        if name.startswith("out/part-")
    ]
    lines = "".join(counted).splitlines()
    assert sorted(lines) == ["('a', 2)", "('b', 1)", "('c', 1)"]
    # That user is gone, and with it what its password was good for.
    assert "job_" not in cloud.type("openstack user list --domain sahara -f value -c Name")


def test_it_is_scaled_and_back_without_loss(spark: Spark) -> None:
    timed("one worker more", lambda: spark.scale(2))
    spark.lives(2)
    spark.there(MANY)
    wait_until("files on both", lambda: min(spark.used()) > 1 << 20, 120, 5)
    timed("and back", lambda: spark.scale(1))
    spark.lives(1)
    assert spark.there("hdfs dfs -cat words") == "a b a c a b\n"
    spark.there("rm -r many && hdfs dfs -get many . && md5sum --quiet -c sums")


def test_it_goes_with_all_that_it_had(spark: Spark) -> None:
    spark.cloud.type("openstack dataprocessing cluster delete words --wait", timeout=300)
    assert spark.servers() == [] == spark.json("stack list")
    assert spark.json("floating ip list") == []
    assert "words-" not in spark.cloud.type("openstack port list -f value -c Name")
    keys = spark.cloud.type("openstack keypair list -f value -c Name").split()
    assert keys == ["words"]


def test_nothing_else_went_wrong(spark: Spark) -> None:
    assert spark.wrong() == []
