"""What the packages do not do by themselves: HDFS and Spark put in their places, and tried.

Spark is that of today. HDFS is of Hadoop 2.7, in the archive of an older Spark: nothing of later
has its servers. It runs on Java 17 if what it looks for on its class path lies before its jars
(``usr/lib/hadoop/first`` in ``tree``).
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path

from onestack.images.debian_root import inside, prune

SPARK = Path("usr/src/pyspark-3.5.9")
HADOOP = Path("usr/src/pyspark-2.4.8/deps/jars")
SWIFT = Path("usr/src/sahara-extra-18.0.0/hadoop-swiftfs/src/main")
JAVA = Path("usr/lib/jvm/java-17-openjdk-amd64")
PLACE = Path("opt/spark")
FIRST = Path("usr/lib/hadoop/first")
LIBRARIES = Path("usr/lib/hadoop/lib")
SNATIVE = "org/apache/hadoop/fs/swift/snative"
SWIFT_JAR = Path("usr/lib/hadoop-mapreduce/hadoop-openstack.jar")
"""Where sahara has Spark look for it."""
CORRECTED = (
    # Hadoop's own asks this one in turn, since its version 3.
    ("SwiftFileStatus", "return isDir();", "return super.isDirectory();", 1),
    # Names of headers have no case, and the front writes small letters. Of what has no length
    # Spark reads nothing, and says that all went well.
    ("SwiftNativeFileSystemStore", "headerName.equals(", "headerName.equalsIgnoreCase(", 3),
    ("SwiftNativeFileSystemStore", ".equals(headerName)", ".equalsIgnoreCase(headerName)", 2),
    # A place to go on from is heeded at once, not by those alone who read byte for byte: a file's
    # second part would be read from its beginning. And not to an end before the file's.
    ("SwiftNativeInputStream", "nextReadPosition = targetPos;", "realSeek(targetPos);", 1),
    ("SwiftNativeInputStream", "      seekStream();\n", "", 1),
    ("SwiftNativeInputStream", "length = targetPos + bufferSize;", "length = 1L << 50;", 1),
)
"""By class: what of it is of older times, what stands there instead, and how often."""
NEEDED = (
    *("commons-cli", "commons-codec", "commons-collections", "commons-configuration"),
    *("commons-httpclient", "commons-io", "commons-lang", "commons-logging", "guava"),
    *("hadoop-annotations", "hadoop-auth", "hadoop-common", "hadoop-hdfs", "htrace-core"),
    *("jackson-core-asl", "jackson-mapper-asl", "javax.servlet-api", "javax.ws.rs-api"),
    *("jetty", "jetty-util", "leveldbjni-all", "log4j", "netty", "netty-all", "protobuf-java"),
    *("slf4j-api", "slf4j-log4j12", "xercesImpl", "xmlenc"),
)
"""Of the older Spark's jars, by name without version, what HDFS and its commands load."""
LEFT_OUT = (
    *("jars/kubernetes-*", "jars/spark-kubernetes*", "jars/mesos-*", "jars/spark-mesos*"),
    *("jars/rocksdbjni-*", "bin/*.cmd", "bin/docker-image-tool.sh", "bin/sparkR"),
)
"""Of Spark, what only other clusters than its own use."""
HOMES = {"debian": "home/debian", "hadoop": "var/lib/hadoop", "hdfs": "var/lib/hadoop-hdfs"}
PASSWORD = "changeit"
"""Of Java's own store of certificates, as everybody has it; sahara says it too."""


DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}
"""Of the kernel's memory, by number. They are only there while programs run in the root."""


def finish(root: Path) -> None:
    make_devices(root)
    place_java(root)
    place_hadoop(root)
    place_spark(root)
    place_swift(root)
    place_users(root)
    try_programs(root)


def make_devices(root: Path) -> None:
    """Without them a Java has no random numbers for seconds, and sudo ends."""
    for name, number in DEVICES.items():
        place = root / "dev" / name
        if not place.exists():
            os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, number))
            place.chmod(0o666)


def java(root: Path, argv: Sequence[str], timeout: float = 120.0) -> None:
    """A program of Java's, in the root.

    There is no /proc, by which it would find its libraries, and the name that the building
    machine goes by is nobody's there, of which Spark asks for the address.
    """
    libraries = f"LD_LIBRARY_PATH=/{JAVA}/lib:/{JAVA}/lib/server"
    name = "SPARK_LOCAL_HOSTNAME=localhost"
    inside(root, ["env", libraries, f"JAVA_HOME=/{JAVA}", name, *argv], timeout=timeout)


def place_java(root: Path) -> None:
    """What Debian's scripts would do: the commands, and the store of certificates."""
    for name in ("java", "keytool"):
        (root / "usr/bin" / name).symlink_to(f"/{JAVA}/bin/{name}")
    store = root / "etc/ssl/certs/java/cacerts"
    store.parent.mkdir(parents=True, exist_ok=True)
    # An empty one: what guests trust they are told. In one of today's form (PKCS12) Java would
    # find nothing without the password, which it is not given.
    common = ["-keystore", f"/{store.relative_to(root)}", "-storepass", PASSWORD, "-alias", "none"]
    common += ["-storetype", "JKS"]
    tool = f"/{JAVA}/bin/keytool"
    java(root, [tool, "-genkeypair", "-keyalg", "EC", "-dname", "CN=none", *common])
    java(root, [tool, "-delete", *common])


def jars(folder: Path) -> dict[str, Path]:
    """Each by its name without version."""
    found = {}
    for path in sorted(folder.glob("*.jar")):
        name = re.sub(r"-\d.*$", "", path.stem)
        found[name] = path
    return found


def place_hadoop(root: Path) -> None:
    there = jars(root / HADOOP)
    place = root / LIBRARIES
    place.mkdir(parents=True)
    for name in NEEDED:
        shutil.copy2(there[name], place)
    write_defaults(there["hadoop-hdfs"], root / FIRST)
    (root / "etc/hadoop/conf").mkdir(parents=True, exist_ok=True)
    (root / "etc/cron.d").mkdir(parents=True, exist_ok=True)


def write_defaults(jar: Path, place: Path) -> None:
    """The jar's own, without the interface for files by HTTP: what that needs is not here."""
    with zipfile.ZipFile(jar) as archive:
        text = archive.read("hdfs-default.xml").decode()
    off, count = re.subn(r"(<name>dfs\.webhdfs\.enabled</name>\s*<value>)true", r"\1false", text)
    if count != 1:
        raise ValueError(f"{jar.name} has another hdfs-default.xml than was expected")
    (place / "hdfs-default.xml").write_text(off)


def place_spark(root: Path) -> None:
    place = root / PLACE
    for name in ("bin", "jars", "sbin"):
        # Of ``sbin`` some is ours, and already there.
        shutil.copytree(root / SPARK / "deps" / name, place / name, dirs_exist_ok=True)
    shutil.copytree(root / SPARK / "lib", place / "python/lib")
    shutil.copytree(root / SPARK / "deps/examples", place / "examples")
    prune(place, LEFT_OUT)
    for name in ("conf", "logs", "run"):
        (place / name).mkdir()
    for path in (*(place / "bin").iterdir(), *(place / "sbin").iterdir()):
        path.chmod(0o755)
    with (place / "bin/load-spark-env.sh").open("a") as file:
        file.write("\n. /usr/lib/spark/defaults.sh\n")
    # By which swift:// speaks HTTP; Spark itself has a later kind under another name.
    shutil.copy2(jars(root / HADOOP)["commons-httpclient"], place / "jars")


def place_swift(root: Path) -> None:
    """The object store as a file system of Hadoop's, compiled here."""
    classes = root / "usr/src/classes"
    classes.mkdir()
    for name, before, after, times in CORRECTED:
        correct(root / SWIFT / f"java/{SNATIVE}/{name}.java", before, after, times)
    sources = [
        f"/{path.relative_to(root)}"
        for path in sorted((root / SWIFT / "java").rglob("*.java"))
        # It is for tests, and wants what they are made with.
        if path.stem != "SwiftTestUtils"
    ]
    (root / "usr/src/sources").write_text("".join(f"{path}\n" for path in sources))
    words = ["-nowarn", "-Xlint:none", "-proc:none", "-encoding", "UTF-8"]
    where = ["-cp", f"/{PLACE}/jars/*", "-d", "/usr/src/classes", "@/usr/src/sources"]
    java(root, [f"/{JAVA}/bin/javac", *words, *where], timeout=600)
    if (root / SWIFT / "resources").is_dir():
        shutil.copytree(root / SWIFT / "resources", classes, dirs_exist_ok=True)
    (root / SWIFT_JAR).parent.mkdir(parents=True)
    java(root, [f"/{JAVA}/bin/jar", "-cf", f"/{SWIFT_JAR}", "-C", "/usr/src/classes", "."])
    # Its programs are not needed any more; the virtual machine is.
    kept = ("java", "keytool", "jstack", "jps")
    for path in (root / JAVA / "bin").iterdir():
        if path.name not in kept:
            path.unlink()


def correct(file: Path, before: str, after: str, times: int) -> None:
    text = file.read_text()
    if text.count(before) != times:
        raise ValueError(f"{file.name} is another than was expected")
    file.write_text(text.replace(before, after))


def place_users(root: Path) -> None:
    for user, home in HOMES.items():
        place = root / home
        place.mkdir(parents=True, exist_ok=True)
        inside(root, ["chown", f"{user}:{user}", f"/{home}"])
    keys = root / HOMES["debian"] / ".ssh"
    keys.mkdir(mode=0o700)
    inside(root, ["chown", "debian:debian", f"/{keys.relative_to(root)}"])
    inside(root, ["chown", "-R", "debian:debian", f"/{PLACE}", "/etc/hadoop"])
    (root / "var/log/hadoop").mkdir(parents=True)
    inside(root, ["chown", "hdfs:hadoop", "/var/log/hadoop"])
    for path in (root / "etc/sudoers", *(root / "etc/sudoers.d").iterdir()):
        path.chmod(0o440)
    # ssh takes an account with a "!" for locked; none has a password.
    shadow = root / "etc/shadow"
    shadow.write_text(re.sub(r"^(\w+):!\*?:", r"\1:*:", shadow.read_text(), flags=re.MULTILINE))


def try_programs(root: Path) -> None:
    """Each starts, and finds what it loads. Raises `CommandFailed`."""
    inside(root, ["sudo", "-u", "debian", "sudo", "su", "-lc", "true", "hdfs"])
    java(root, ["hdfs", "version"])
    classes = ["-cp", f"/{PLACE}/jars/*", "org.apache.spark.deploy.SparkSubmit", "--version"]
    java(root, [f"/{JAVA}/bin/java", *classes])
