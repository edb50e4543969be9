"""Sahara's room inside upstream: its API, its guests, what is settled at a start."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import onestack
from onestack.components.sahara import config
from onestack.components.sahara.known_errors import KNOWN_ERRORS
from onestack.database.upstream_tables.sahara import LOGGED_IN
from onestack.release import program
from tests.support.needs import needs_sahara, sahara_python
from tests.support.trials import tried

TRIALS = Path(__file__).with_name("sahara_trials.py")
OURS = "the service ended in the middle of it"

pytestmark = needs_sahara


def environment(folder: Path) -> dict[str, str]:
    """With what upstream finds our driver and our plugin by."""
    information = folder / "found" / program.DISTRIBUTION
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: onestack\nVersion: 0\n")
    shutil.copyfile(program.SOURCE / program.ENTRY_POINTS, information / "entry_points.txt")
    paths = (Path(onestack.__file__).parents[1], information.parent)
    return {**os.environ, "PYTHONPATH": ":".join(map(str, paths)), "HOME": str(folder)}


def trial(name: str, folder: Path) -> Any:
    """What it found."""
    (folder / "policy.yaml").write_text(config.policy())
    done = tried(TRIALS, name, folder, python=sahara_python(), env=environment(folder), timeout=180)
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_asked_is_answered(tmp_path: Path) -> None:
    """On libraries of today, which upstream never saw."""
    found = trial("api", tmp_path)
    assert found["plugins"]["spark3"] == ["3.5"]
    assert set(found["plugins"]) == {*config.PLUGINS, "fake"}
    assert found["one"] == 200
    status, made = found["made"]
    assert status == 202 and made["data_source"]["url"] == "/data/in"
    status, listed = found["listed"]
    assert [each["name"] for each in listed["data_sources"]] == ["in"]
    assert found["binary"][0] == 202
    # Without the object store nobody can name something in it.
    status, told = found["stored"]
    assert status == 400 and "'swift' is not one of" in told["error_message"]


def test_a_reader_may_not_write(tmp_path: Path) -> None:
    found = trial("api", tmp_path)
    assert found["read"][0] == 200
    for who in ("written", "nobody", "hidden"):
        assert found[who][0] == 403, (who, found[who])
    # It is logged, and as no error: not found, not allowed, not taken.
    assert found["gone"] == 404
    codes = {int(said.partition("error_code=")[2][:3]) for _, said in found["logged"]}
    assert codes == {400, 403, 404}
    assert {level for level, _ in found["logged"]} == {"INFO"} and found["errors"] == []


def test_every_rule_is_given(tmp_path: Path) -> None:
    rules = trial("policy", tmp_path)
    left_to_all = {name for name, rule in rules if rule == ""}
    assert left_to_all == {*config.READING, *config.WRITING}


def test_a_session_is_a_process_that_ends_with_its_channel(tmp_path: Path) -> None:
    found = trial("session", tmp_path)
    assert found["pids"] == 2 and found["parents"] == 1 and not found["own"]
    assert "get_transport" in found["wrong"]
    # One that hangs in a guest is not waited for.
    assert found["late"] and found["seconds"] < 10 and found["left"] == []
    assert not Path(f"/proc/{found['parent']}/exe").exists()


def test_guests_of_today_are_understood(tmp_path: Path) -> None:
    found = trial("guests", tmp_path)
    assert found["kinds"] == {
        "debian": ["debian", "12"],
        "red hat": ["redhat", "9.4"],
        "nothing": ["", ""],
    }
    assert bytes(found["files"]["a"]) == "ü".encode()
    assert bytes(found["files"]["b"]) == b"\0"


def test_a_connection_has_one_session_for_files(tmp_path: Path) -> None:
    """Upstream opens one for each file; while the last one ends, dropbear takes no other."""
    found = trial("files", tmp_path)
    assert found["read"] == found["again"] == "two, three"
    assert found["kept"] == 1 and found["in all"] == 2
    # Where processors are emulated a first word takes its time.
    assert found["waits"] == 60


def test_a_machines_own_disk_is_none_of_the_clusters(tmp_path: Path) -> None:
    """Upstream would make a file system over its boot loader; the last line shows that it does."""
    found = trial("disks", tmp_path)
    assert found["found"] == ["/dev/vdb", "/dev/vdc"]
    whole = ["/dev/vda", "/dev/vda", "/dev/nvme0n1", "/dev/nvme0n1", "/dev/mmcblk0"]
    assert found["disks"] == whole
    assert "sudo mount -t xfs -o noatime,nodiratime /dev/vdb /volumes/disk1" in found["mounted"]
    assert "/dev/vda1" in found["upstream"]


def test_hdfs_of_today_is_understood(tmp_path: Path) -> None:
    found = trial("spark", tmp_path)
    assert found["versions"] == ["3.5"]
    assert "Spark" in found["jobs"]
    assert found["live"] == [False, True, True]
    assert found["vanilla"] and found["users"] == ["hadoop", "hdfs"]
    # Until what it has is copied, a node is not taken away.
    assert not found["moving"] and found["moved"]


def test_a_program_in_python_gets_its_data(tmp_path: Path) -> None:
    """Upstream's wrapper is for Java: it would put two arguments before a program's own."""
    found = trial("python", tmp_path)
    commands = found["commands"]
    start = "/opt/spark/bin/spark-submit"
    assert commands["proxied"] == (
        f"{start} --properties-file spark.properties --class x --jars l.jar --master "
        "spark://%(host)s:7077 --deploy-mode client p.py swift://c.sahara/in 2"
    )
    assert commands["without"] == (
        f"{start} --class x --master spark://%(host)s:7077 --deploy-mode client "
        "p.py swift://c.sahara/in 2"
    )
    assert "SparkWrapper" in commands["java"] and "--properties-file" not in commands["java"]
    assert found["java"] == ["/w/spark.xml"]
    # The last one written is of the job that has a data source's own user.
    (place, text), *others = found["files"].items()
    assert place == "/w/spark.properties" and not others
    assert "spark.hadoop.fs.swift.service.sahara.username u\n" in text and "trust" not in text
    assert "install -m 600 /dev/null /w/spark.properties" in found["typed"]
    assert (found["shell"], found["none"]) == ("ShellEngine", None)


def test_who_a_jobs_data_is_read_by(tmp_path: Path) -> None:
    told = trial("python", tmp_path)["told"]
    swift = "spark.hadoop.fs.swift.service.sahara"
    jar = "/usr/lib/hadoop-mapreduce/hadoop-openstack.jar"
    assert told.split("\n") == [
        "spark.executor.extraClassPath /there.jar",
        f"spark.driver.extraClassPath {jar}",
        f"{swift}.username job_1",
        f"{swift}.password a\\\\b",
        f"{swift}.trust.id t",
        f"{swift}.domain.name jobs",
        "",
    ]


def test_how_machines_are_reached(tmp_path: Path) -> None:
    """What `hops` and its table take for granted."""
    found = trial("reach", tmp_path)
    outside, inside = "192.0.2.9", "10.0.0.2"
    ways = found["ways"]
    # management_ip, internal_ip, where it goes, by which command, by which gateway
    assert ways["plain-m-with"] == [outside, inside, outside, None, None]
    assert ways["plain-m-without"] == [inside, inside, inside, None, None]
    assert ways["gated-door-with"] == [outside, inside, outside, None, None]
    assert ways["gated-door-without"] == [inside, inside, inside, None, None]
    for which in ("with", "without"):
        # Of the gateways it takes any, be it one without a floating IP.
        *way, gateway = ways[f"gated-inner-{which}"]
        assert way == [inside, inside, inside, None] and gateway in (outside, inside)
    assert [LOGGED_IN, "come-m-with", 1] in found["noted"]


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return trial("interrupted", tmp_path_factory.mktemp("interrupted"))


def test_what_was_interrupted_is_brought_to_an_end(settled: Any) -> None:
    """A cluster that was whole is never in Error: from there is no way back to what is on it."""
    clusters, told = settled["clusters"], settled["told"]
    states = {name: status for name, (status, *_) in clusters.items()}
    made = ("spawning", "waiting", "configuring", "starting")
    whole = ("to-scale", "shrinking", "scaling", "growing", "grown", "rolled")
    assert states == {
        "ready": "Active",
        "asked": "Error",
        **dict.fromkeys(made, "Error"),
        **dict.fromkeys(whole, "Active"),
    }
    # Upstream's own failures too.
    assert "Scaling cluster failed" in clusters["ready"][1]
    for name in ("asked", *made, *whole):
        assert OURS in clusters[name][1], clusters[name]
        # Nothing that a later failure would go back to.
        assert clusters[name][3] == {}
    # Machines are removed of those that were never whole, and of no others.
    assert {name: clusters[name][2] for name in made} == dict.fromkeys(made, 0)
    gone = [each.removeprefix("gone: ") for each in told if each.startswith("gone")]
    trusts = [f"{name}-trust" for name in ("leaving", "refused")]
    assert sorted(gone) == sorted((*(f"{n}-stack" for n in (*made, "leaving")), *trusts))
    for name in whole:
        assert "scale it again" in clusters[name][1] and clusters[name][2] == (name == "grown") + 1
    assert told.count("as its owner") == len(made) + len(trusts)
    assert settled["jobs"] == ["FAILED", "RUNNING"]


def test_what_was_interrupted_is_told(settled: Any) -> None:
    """As errors: of nothing else doctor tells."""
    text = "\n".join(said for level, said in settled["said"] if level == "ERROR")
    for name, identity in settled["ids"].items():
        assert (identity in text) == (name != "ready")
    assert "job" in text
    for _, said in settled["said"]:
        explained = [known for known in KNOWN_ERRORS if re.search(known.pattern, said)]
        assert len(explained) == 1, said
    # And a check that the end cut short may begin again.
    assert settled["checked"] == [True, True]


def test_it_serves_and_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    trial("spark", tmp_path)  # makes the database
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [sahara_python(), "-W", "ignore", TRIALS, "serve", tmp_path],
            env=environment(tmp_path),
            stdout=log,
            stderr=log,
        )
        try:
            status = answered(tmp_path / "log")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        finally:
            process.kill()
            process.wait(20)
    # Without the pipeline's token nobody is told who asks.
    assert status == 500, (tmp_path / "log").read_text()[-4000:]
    assert len(children) == 1
    until = time.monotonic() + 10
    while Path(f"/proc/{children[0]}/exe").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{children[0]}/exe").exists(), "the sessions' parent outlived it"


def answered(log: Path) -> int:
    """The status of a first answer, at the port that is the log's first line."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        lines = log.read_text().splitlines()
        if lines and lines[0].isdigit():
            connection = http.client.HTTPConnection("127.0.0.1", int(lines[0]), timeout=120)
            connection.request("GET", "/v1.1/p/plugins")
            return connection.getresponse().status
        time.sleep(0.1)
    raise AssertionError(log.read_text())
